"""Work orders: submitting them, their ids, plans and inputs. On both databases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.control_plane_harness import (
    ME,
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    plan,
    submission,
    to,
)
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.worker_protocol import Lease


def test_an_order_waits_with_one_run(harness: ControlPlaneHarness) -> None:
    published = harness.send(submission("o", priority=3, project="p"))
    assert published.statuses == ["pending"]
    order = harness.order("o")
    assert (order["status"], order["priority"], order["project"]) == ("pending", 3, "p")
    assert [run["run_id"] for run in order["all_runs"]] == ["o-1"]


def test_a_repeated_submit_makes_one_order(harness: ControlPlaneHarness) -> None:
    first = harness.send(submission("o"))
    for published in (
        harness.send(submission("o")),
        harness.send(submission("o"), submission("o")),
    ):
        assert not published.states and not published.refusals
        assert [reply.ok for reply in published.replies] == [first.replies[0].ok] * len(
            published.replies
        )
    assert harness.order("o")["runs"] == 1


def test_a_submit_repeated_within_a_batch_makes_one_order(harness: ControlPlaneHarness) -> None:
    published = harness.send(submission("o"), submission("o"))
    assert published.statuses == ["pending"]
    assert published.replies[0] == published.replies[1]


def test_a_reply_carries_the_correlation_to_the_reply_topic(harness: ControlPlaneHarness) -> None:
    message = to(TOPICS.request("summary"), {}, reply_to=ME, correlation=b"\x00\xff7")
    (reply,) = harness.processor.process([message], harness.now).messages
    assert (reply.topic, reply.correlation, reply.retain) == (ME, b"\x00\xff7", False)


def test_an_order_that_cannot_be_run_is_denied_and_not_kept(harness: ControlPlaneHarness) -> None:
    before = harness.dump()
    denied: list[tuple[str, dict[str, Any]]] = [
        ("unknown", {"workflow": "unheard-of"}),
        ("invalid", {}),
        ("invalid", {"workflow": "flow", "plan": plan()}),
        ("invalid", {"plan": {"workflow": {"steps": 1}}}),
        ("invalid", {"plan": [1]}),
        ("invalid", {"workflow": "flow", "input": [1]}),
        ("invalid", {"workflow": "flow", "priority": 101}),
        ("invalid", {"workflow": "flow", "project": "a/b"}),
    ]
    for code, fields in denied:
        assert harness.failure("submit", order_id="o", **fields).code == code, fields
    assert harness.dump() == before


def test_an_order_can_bring_its_plan_and_its_input(harness: ControlPlaneHarness) -> None:
    harness.submit("o", plan=plan("mine"), input={"data": {"é": [1, 2.5, None]}})
    (run,) = FakeWorker(harness).claim()
    assert wire.encode(run.input) == '{"data":{"é":[1,2.5,null]}}'.encode()
    assert b'"mine"' in bytes(run.plan)
    assert harness.order("o")["workflow"] == "mine"


def test_options_reach_the_worker(harness: ControlPlaneHarness) -> None:
    harness.submit("o", options={"start": "b", "timeout_s": 5})
    (run,) = FakeWorker(harness).claim()
    assert run.options == wire.RunOptions(start="b", timeout_s=5)


def test_ids_may_be_as_long_as_they_can_be(harness: ControlPlaneHarness) -> None:
    """The beginnings of two ids being the same does not make their runs the same."""
    ids = ["x" * 63 + end for end in "ab"]
    runs = [harness.submit(id) for id in ids]
    assert len({*ids, *runs}) == 4
    given = FakeWorker(harness).claim(2)
    assert [run.order_id for run in given] == ids
    for run in given:
        wire.decode(Lease, wire.encode(run.lease))


def test_an_order_that_has_the_id_of_a_run_is_a_conflict(harness: ControlPlaneHarness) -> None:
    """A request that names the id would be ambiguous."""
    harness.submit("x")
    before = harness.dump()
    for messages in ([submission("x-1")], [submission("x"), submission("x-1")]):
        failure = harness.send(*messages).replies[-1].error
        assert failure is not None and failure.code == "conflict"
    assert harness.dump() == before


@pytest.mark.parametrize("together", [False, True])
def test_a_first_run_never_has_the_id_of_an_order(
    harness: ControlPlaneHarness, together: bool
) -> None:
    messages = [submission("x-1", input={"data": 1}), submission("x", input={"data": 2})]
    for batch in [messages] if together else [messages[:1], messages[1:]]:
        assert not any(reply.error for reply in harness.send(*batch).replies)
    given = {run.order_id: run for run in FakeWorker(harness).claim(2)}
    assert bytes(given["x"].input) == b'{"data":2}'
    assert given["x"].lease.run_id not in ("x", "x-1")
    assert harness.order("x-1")["last_run"] == "x-1-1"


def test_a_first_run_never_has_the_id_of_another_run(harness: ControlPlaneHarness) -> None:
    harness.ended("x")
    harness.call("retry", id="x", run_id="y-1")
    assert harness.submit("y") not in ("x-1", "y-1")
    assert [run.order_id for run in FakeWorker(harness).claim(2)] == ["x", "y"]
