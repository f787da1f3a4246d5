"""Delays, deadlines and unique keys of orders, and the choice to queue over a limit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.control_plane_harness import (
    SECOND,
    ControlPlaneHarness,
    FakeWorker,
    submission,
)
from worker.fleet.control.policy import Policy, ProjectLimits


def place(harness: ControlPlaneHarness, order_id: str, **fields: Any) -> dict[str, Any]:
    """Submit an order. Return it as the reply has it."""
    (reply,) = harness.send(submission(order_id, **fields)).replies
    assert reply.error is None, reply.error
    order: dict[str, Any] = msgspec.json.decode(bytes(reply.ok))
    return order


# --- delays ---------------------------------------------------------------------------------------


def test_an_order_does_not_begin_before_its_time(harness: ControlPlaneHarness) -> None:
    harness.submit(not_before=harness.now + 60 * SECOND)
    assert harness.call("summary")["delayed"] == 1
    harness.wait(59)
    worker = FakeWorker(harness)
    assert not worker.claim()
    published = harness.wait(2)
    assert [run.lease.run_id for batch in published.assignments for run in batch.runs] == ["o-1"]


def test_a_delay_survives_a_restart(harness: ControlPlaneHarness) -> None:
    harness.submit(not_before=harness.now + 60 * SECOND)
    harness.restart()
    harness.wait(58)
    assert harness.call("summary")["delayed"] == 1
    harness.wait(4)
    assert FakeWorker(harness).claim()


def test_a_time_that_has_passed_is_no_delay(harness: ControlPlaneHarness) -> None:
    harness.submit(not_before=harness.now - SECOND)
    assert FakeWorker(harness).claim()


def test_a_delayed_order_is_cancelled_at_once(harness: ControlPlaneHarness) -> None:
    harness.submit(not_before=harness.now + 60 * SECOND)
    assert harness.call("cancel", id="o")["status"] == "cancelled"
    harness.wait(61)
    assert not FakeWorker(harness).claim()


def test_a_repeated_order_with_another_time_is_the_same(harness: ControlPlaneHarness) -> None:
    harness.submit(not_before=harness.now + 60 * SECOND)
    assert place(harness, "o", not_before=harness.now + 70 * SECOND)["runs"] == 1


# --- deadlines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_s", [0, 5])
def test_an_order_that_has_not_begun_by_its_deadline_is_rejected(
    harness: ControlPlaneHarness, delay_s: int
) -> None:
    times: dict[str, Any] = {
        "start_by": harness.now + 10 * SECOND,
        "not_before": harness.now + delay_s * SECOND,
    }
    harness.submit(**times)
    published = harness.wait(11)
    assert published.orders[-1].status == "rejected"
    order = harness.order()
    assert (order["status"], order["reason"]) == (
        "rejected",
        "the run had not started by its deadline",
    )
    assert not FakeWorker(harness).claim()


def test_a_claimed_run_does_not_start_after_its_deadline(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed(start_by=harness.now + 5 * SECOND)
    harness.pass_time(6)
    (starts,) = worker.request_start(lease).starts
    assert [attempt.run_id for attempt in starts.refused] == ["o-1"]
    assert harness.status() == "rejected"


def test_a_run_that_has_begun_has_no_deadline(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started(start_by=harness.now + 5 * SECOND)
    for _ in range(3):
        worker.heartbeat(lease)
        harness.wait(5)
    assert harness.status() == "running"


def test_a_retry_after_the_deadline_is_no_late_order(harness: ControlPlaneHarness) -> None:
    harness.submit(start_by=harness.now + 5 * SECOND)
    harness.wait(10)
    harness.call("retry", id="o", run_id="again")
    harness.wait(60)
    assert [run.lease.run_id for run in FakeWorker(harness).claim()] == ["again"]


def test_a_deadline_before_the_delay_is_refused(harness: ControlPlaneHarness) -> None:
    failure = harness.failure(
        "submit", order_id="o", workflow="flow", not_before=harness.now + 9, start_by=harness.now
    )
    assert failure.message == "start_by is before not_before: the order could never start"


# --- unique orders --------------------------------------------------------------------------------


def test_a_newer_order_replaces_the_waiting_one_with_its_key(harness: ControlPlaneHarness) -> None:
    harness.submit("a", unique="patient-7")
    harness.submit("b", unique="patient-7")
    assert harness.order("a")["status"] == "cancelled"
    run = harness.run("a")
    assert run["error_message"] == "order b with the same key replaced it"
    assert [run.order_id for run in FakeWorker(harness).claim(5)] == ["b"]


def test_orders_of_one_batch_replace_each_other(harness: ControlPlaneHarness) -> None:
    harness.send(*(submission(f"o{n}", unique="k") for n in range(5)))
    assert [harness.order(f"o{n}")["status"] for n in range(5)] == ["cancelled"] * 4 + ["pending"]


def test_an_order_is_rejected_while_one_with_its_key_runs(harness: ControlPlaneHarness) -> None:
    harness.started("a", unique="k")
    order = place(harness, "b", unique="k")
    assert (order["status"], order["reason"]) == (
        "rejected", "order a with the key 'k' has not ended",
    )  # fmt: skip


def test_an_order_waits_for_the_one_with_its_key_where_it_queues(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.started("a", unique="k", over_limit="queue")
    for order_id in ("b", "c"):
        harness.submit(order_id, unique="k", over_limit="queue")
    assert harness.call("summary")["delayed"] == 1
    assert [harness.order(id)["status"] for id in "abc"] == ["running", "cancelled", "pending"]
    published = worker.finish(lease)
    assert published.upto == 1
    assert [run.order_id for run in FakeWorker(harness).claim(5)] == ["c"]


def test_a_waiting_order_is_looked_at_again_if_nobody_released_it(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.started("a", unique="k")
    harness.submit("b", unique="k", over_limit="queue")
    for _ in range(5):
        worker.heartbeat(lease)
        harness.wait(8)
    assert harness.call("summary")["delayed"] == 1
    assert harness.status("b") == "pending"


def test_a_key_is_of_one_project(harness: ControlPlaneHarness) -> None:
    harness.submit("a", unique="k", project="north")
    harness.submit("b", unique="k", project="south")
    assert harness.order("a")["status"] == "pending"


def test_an_ended_order_is_not_run_again_beside_another_with_its_key(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.started("a", unique="k", retry={"times": 3, "after_s": 1})
    harness.submit("b", unique="k", over_limit="queue")
    worker.finish(lease, reason="fail")
    assert harness.order("a")["runs"] == 1, "the newer order has taken its place"
    assert harness.failure("retry", id="a", run_id="r").code == "conflict"


# --- queue instead of reject ----------------------------------------------------------------------


@pytest.mark.parametrize("by_order", [True, False])
def test_orders_over_a_limit_wait_where_that_is_chosen(
    harness: ControlPlaneHarness, by_order: bool
) -> None:
    limits = ProjectLimits(concurrent=1, over_limit="reject" if by_order else "queue")
    harness.restart(policy=Policy(projects={"p": limits}))
    fields: dict[str, Any] = {"over_limit": "queue"} if by_order else {}
    for order_id in ("a", "b"):
        harness.submit(order_id, project="p", **fields)
    worker = FakeWorker(harness)
    (assigned,) = worker.claim(5)
    assert assigned.order_id == "a"
    worker.start(assigned.lease)
    worker.finish(assigned.lease)
    assert [run.order_id for run in worker.claim(5)] == ["b"]


def test_no_more_runs_than_its_limit_begin_in_a_period(harness: ControlPlaneHarness) -> None:
    limits = ProjectLimits(per_period=2, period_s=60, over_limit="queue")
    harness.restart(policy=Policy(projects={"p": limits}))
    for number in range(5):
        harness.submit(f"o{number}", project="p")
    worker = FakeWorker(harness)
    assert [run.order_id for run in worker.claim(5)] == ["o0", "o1"]
    assert not worker.claim(5)
    harness.pass_time(61)
    assert [run.order_id for run in worker.claim(5)] == ["o2", "o3"]


# --- tags and times in queries --------------------------------------------------------------------


def test_orders_are_found_by_tag_and_time(harness: ControlPlaneHarness) -> None:
    harness.submit("a", tags=["clinic:north", "urgent"])
    harness.pass_time(10)
    since = harness.now
    harness.submit("b", tags=["clinic:south", "urgent"])

    def ids(method: str, key: str, **fields: Any) -> list[str]:
        return [row[key] for row in harness.call(method, **fields)]

    assert harness.order("a")["tags"] == ["clinic:north", "urgent"]
    assert ids("orders", "order_id", tag="urgent") == ["b", "a"]
    assert ids("orders", "order_id", tag="clinic:north") == ["a"]
    assert ids("orders", "order_id", tag="clinic") == [], "a tag is a whole word"
    assert ids("orders", "order_id", search="south") == ["b"]
    assert ids("orders", "order_id", since=since) == ["b"]
    assert ids("orders", "order_id", until=since) == ["a"]
    assert ids("runs", "run_id", tag="clinic:north") == ["a-1"]


@pytest.mark.parametrize("tag", ["two words", "", "x" * 101, "nul\0", "line\n"])
def test_a_tag_is_one_word(harness: ControlPlaneHarness, tag: str) -> None:
    assert harness.failure("submit", workflow="flow", tags=[tag]).code == "invalid"
