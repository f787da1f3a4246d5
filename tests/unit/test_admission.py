"""Run limits of projects: the rule itself, the file that sets them, and what comes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, submission
from worker.errors import LoadError
from worker.fleet.control.admission import rejection
from worker.fleet.control.entities import ProjectRecord
from worker.fleet.control.policy import Policy, ProjectLimits, read_policy

FREE = ProjectRecord(name="p")


def limited(**fields: object) -> Policy:
    return Policy(projects={"default": ProjectLimits(**fields)})  # type: ignore[arg-type]


# --- the rule -------------------------------------------------------------------------------------


def test_a_project_without_limits_is_only_counted() -> None:
    assert rejection(ProjectRecord(name="p", unfinished=9, accepted=9), ProjectLimits()) is None


def test_a_project_has_no_more_unfinished_runs_than_its_limit() -> None:
    full = ProjectRecord(name="p", unfinished=2)
    reason = rejection(full, ProjectLimits(concurrent=2))
    assert reason == "project 'p' has 2 runs under way, and its limit is 2"
    assert rejection(full, ProjectLimits(concurrent=3)) is None


def test_a_project_has_no_more_runs_in_a_period_than_its_limit() -> None:
    limit = ProjectLimits(per_period=1, period_s=60)
    assert rejection(FREE, limit) is None
    reason = rejection(ProjectRecord(name="p", accepted=1), limit)
    assert reason == "project 'p' has had 1 run in this period of 60 s, and its limit is 1"


def test_a_limit_of_nothing_refuses_everything() -> None:
    assert rejection(FREE, ProjectLimits(concurrent=0)) is not None
    assert rejection(FREE, ProjectLimits(per_period=0)) is not None


# --- the file -------------------------------------------------------------------------------------


def test_a_policy_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(
        "default: {concurrent: 5}\nprojects: {big: {per_period: 9, workflows: {sync: 1}}}\n"
    )
    policy = read_policy(file)
    assert policy.of("small").concurrent == 5
    assert (policy.of("big").concurrent, policy.of("big").per_period) == (None, 9)
    assert policy.concurrency("big", "sync") == 1
    assert policy.concurrency("big", "other") is None


@pytest.mark.parametrize("text", ["default: {concurent: 5}", "projects: [1]", "- 1"])
def test_a_wrong_policy_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(text)
    with pytest.raises(LoadError, match=r"limits\.yaml"):
        read_policy(file)


# --- what comes of it -----------------------------------------------------------------------------


def test_an_order_over_the_limit_is_rejected_and_kept_with_the_reason(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=limited(concurrent=1))
    harness.submit("first")
    published = harness.send(submission("second"))
    assert published.ended == {"rejected": 1}
    (state,) = published.orders
    assert (state.status, state.runs, state.last_run) == ("rejected", 0, None)
    assert state.reason == "project 'default' has 1 run under way, and its limit is 1"
    kept = harness.order("second")
    assert (kept["status"], kept["reason"]) == ("rejected", state.reason)
    assert [run.lease.run_id for run in FakeWorker(harness).claim(5)] == ["first-1"]


def test_a_rejected_order_runs_when_it_is_submitted_again_and_there_is_room(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=limited(concurrent=1))
    harness.submit("first")
    harness.send(submission("second", input={"data": 2}))
    still = harness.call("submit", order_id="second", workflow="flow", input={"data": 2})
    assert still["status"] == "rejected"
    harness.call("cancel", id="first")
    assert harness.submit("second", input={"data": 2}) == "second-1"
    (run,) = FakeWorker(harness).claim()
    assert bytes(run.input) == b'{"data":2}'


def test_a_retransmission_of_a_rejected_submit_gets_the_same_answer(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=limited(concurrent=1))
    harness.submit("first")
    message = replace(submission("second"), correlation=b"once")
    rejected = harness.send(message).replies
    harness.call("cancel", id="first")
    assert harness.send(message).replies == rejected
    (accepted,) = harness.send(replace(message, correlation=b"again")).replies
    assert b'"status":"pending"' in bytes(accepted.ok)


def test_a_rejected_order_can_be_retried_when_there_is_room(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(concurrent=1))
    harness.submit("first")
    harness.send(submission("o"))
    before = harness.dump()
    assert "it was rejected" in harness.failure("cancel", id="o").message
    assert harness.failure("retry", id="o", run_id="again").code == "rejected"
    assert harness.dump() == before
    harness.call("cancel", id="first")
    failure = harness.failure("retry", id="o", run_id="again", from_step="b")
    assert "it was rejected" in failure.message
    order = harness.call("retry", id="o", run_id="again")
    assert (order["status"], order["last_run"], order["reason"]) == ("pending", "again", None)


def test_orders_in_one_batch_count_for_each_other(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(concurrent=2))
    published = harness.send(*(submission(f"o{n}") for n in range(5)))
    assert [order.status for order in published.orders].count("rejected") == 3


def test_a_project_has_room_again_when_a_run_ends_and_not_when_it_is_claimed(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=limited(concurrent=1))
    worker, lease = harness.started("first")
    assert harness.call("submit", order_id="second", workflow="flow")["status"] == "rejected"
    worker.finish(lease)
    harness.submit("third")


def test_runs_in_a_period_are_counted_and_forgotten_with_it(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(per_period=1, period_s=60))
    harness.submit("first")
    harness.call("cancel", id="first")
    rejected = harness.call("submit", order_id="second", workflow="flow")
    assert "in this period of 60 s" in rejected["reason"]
    harness.pass_time(60)
    harness.submit("third")


def test_a_period_is_a_window_that_slides(harness: ControlPlaneHarness) -> None:
    """Two runs a minute: not two before and two after the full minute."""
    harness.restart(policy=limited(per_period=2, period_s=60))
    harness.submit("o1")
    harness.pass_time(50)
    harness.submit("o2")
    harness.pass_time(9)
    assert harness.call("submit", order_id="o3", workflow="flow")["status"] == "rejected"
    harness.pass_time(2)
    harness.submit("o3")
    assert harness.call("submit", order_id="o4", workflow="flow")["status"] == "rejected"
    harness.pass_time(49)
    harness.submit("o4")


def test_the_count_of_a_period_survives_a_restart(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(per_period=1))
    harness.submit("first")
    harness.restart()
    assert harness.call("submit", order_id="second", workflow="flow")["status"] == "rejected"


def test_a_retry_counts_as_a_run(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(per_period=1))
    harness.ended("o")
    failure = harness.failure("retry", id="o", run_id="again")
    assert failure.code == "rejected"
    assert (harness.order()["status"], harness.order()["runs"]) == ("success", 1)


def test_a_limit_of_one_project_does_not_apply_to_another(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(concurrent=0))
    harness.submit("o", project="free")
    rejected = harness.call("submit", order_id="limited", workflow="flow")
    assert (rejected["project"], rejected["status"]) == ("default", "rejected")


def test_no_more_runs_of_a_workflow_go_at_once_than_its_limit(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(workflows={"flow": 2}))
    for n in range(4):
        harness.submit(f"o{n}")
    harness.submit("free", workflow="other")
    worker = FakeWorker(harness)
    given = worker.claim(9)
    assert [run.lease.run_id for run in given] == ["o0-1", "o1-1", "free-1"]
    assert worker.claim(9) == [], "the others wait"
    published = worker.report(given[0].lease, {**_end(given[0].lease.run_id)})
    assert [run.lease.run_id for answer in published.assignments for run in answer.runs] == ["o2-1"]


def _end(run_id: str) -> dict[str, object]:
    return {"type": "run:complete", "run_id": run_id, "seq": 0, "timestamp": 1, "reason": "success"}
