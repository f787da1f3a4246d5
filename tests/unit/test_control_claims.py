"""Claims: which runs a worker gets, and when. On both databases."""

from __future__ import annotations

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, submission
from tests.support.helpers import job, workflow
from worker.workflow.save import to_execution_plan


def test_a_claim_gets_as_many_runs_as_it_demands_and_as_wait(harness: ControlPlaneHarness) -> None:
    runs = [harness.submit(f"o{n}") for n in range(3)]
    worker = FakeWorker(harness)
    assert [run.lease.run_id for run in worker.claim(2)] == runs[:2]
    assert [run.lease.run_id for run in worker.claim(2)] == runs[2:]


def test_a_repeated_claim_gets_the_same_runs_and_tokens(harness: ControlPlaneHarness) -> None:
    harness.submit("o1")
    harness.submit("o2")
    worker = FakeWorker(harness)
    given = worker.claim(1, "c")
    harness.restart()
    assert [run.lease for run in worker.claim(1, "c")] == [run.lease for run in given]
    assert [run.input for run in worker.claim(1, "c")] == [run.input for run in given]
    assert harness.call("summary")["available"] == 1


def test_a_claim_that_is_raised_gets_its_runs_again_only_where_it_is_repeated(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("a")
    worker = FakeWorker(harness)
    [first] = worker.claim(2, "c")
    assert worker.claim(3, "c") == [], "the response is on its way"
    assert worker.claim(3, "c") == [first], "the response was lost"
    assert worker.claim(4, "c") == []


def test_a_claim_that_is_repeated_in_one_batch_is_answered_once(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("o1")
    worker, other = FakeWorker(harness), FakeWorker(harness, "other")
    [run] = worker.claim(1, "c")
    fields = {"claim_id": "c", "demand": 1, "incarnation": "i1", "repeated": True}
    claims = [worker.message("claim", **fields) for _ in range(3)]
    # What another worker sends under its id takes nothing from it.
    published = harness.send(other.message("claim", **fields), *claims)
    answers = [[each.lease for each in answer.runs] for answer in published.assignments]
    assert answers == [[], [run.lease]]


def test_a_claim_that_is_raised_before_a_run_comes_has_the_higher_demand(
    harness: ControlPlaneHarness,
) -> None:
    worker = FakeWorker(harness)
    assert worker.claim(1, "c") == worker.claim(2, "c") == []
    published = harness.send(*(submission(f"o{n}") for n in range(3)))
    assert [len(answer.runs) for answer in published.assignments] == [2]


def test_a_repeated_claim_does_not_get_runs_that_have_started_since(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("o1")
    harness.submit("o2")
    worker = FakeWorker(harness)
    first, second = worker.claim(2, "c")
    worker.start(first.lease)
    assert worker.claim(2, "c") == [second]


def test_the_claim_of_another_is_not_answered_with_its_runs(harness: ControlPlaneHarness) -> None:
    harness.submit("o")
    FakeWorker(harness).claim(1, "c")
    assert FakeWorker(harness, "south").claim(1, "c") == []


def test_a_claim_waits_for_orders_and_is_answered_once(harness: ControlPlaneHarness) -> None:
    assert FakeWorker(harness).claim(2, "c") == []
    published = harness.send(submission("o1"))
    (answer,) = published.assignments
    assert (answer.claim_id, len(answer.runs)) == ("c", 1)
    assert harness.send(submission("o2")).assignments == [], "one answer for each claim"


def test_a_claim_that_waits_twice_is_one(harness: ControlPlaneHarness) -> None:
    worker = FakeWorker(harness)
    worker.claim(1, "c")
    worker.claim(1, "c")
    assert len(harness.send(submission("o1"), submission("o2")).assignments) == 1
    assert harness.call("summary")["available"] == 1


def test_demand_zero_withdraws_a_claim(harness: ControlPlaneHarness) -> None:
    worker = FakeWorker(harness)
    worker.claim(2, "c")
    worker.claim(0, "c")
    assert harness.send(submission("o")).assignments == []


def test_demand_zero_still_returns_what_was_assigned(harness: ControlPlaneHarness) -> None:
    harness.submit("o")
    worker = FakeWorker(harness)
    given = worker.claim(1, "c")
    assert worker.claim(0, "c") == given


@pytest.mark.parametrize("leave", ["will", "reborn", "disconnected"])
def test_the_claim_of_a_worker_that_disconnected_is_dropped(
    harness: ControlPlaneHarness, leave: str
) -> None:
    worker = FakeWorker(harness)
    worker.birth()
    worker.claim(1)
    match leave:
        case "will":
            worker.will()
        case "reborn":
            harness.wait(10)
            FakeWorker(harness, incarnation="i2").birth()
        case "disconnected":
            harness.disconnect()
            harness.connect()
    assert harness.send(submission("o")).assignments == []


def test_runs_are_distributed_over_workers_that_wait(harness: ControlPlaneHarness) -> None:
    for name in ("north", "south"):
        FakeWorker(harness, name).claim(4)
    published = harness.send(*(submission(f"o{n}") for n in range(4)))
    assert [len(answer.runs) for answer in published.assignments] == [2, 2]


def test_higher_priorities_go_first_and_then_the_oldest(harness: ControlPlaneHarness) -> None:
    for order_id, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 7)):
        harness.submit(order_id, priority=priority)
    given = [run.order_id for run in FakeWorker(harness).claim(4)]
    assert given == ["high", "first", "second", "low"]


def test_a_project_that_floods_does_not_hold_up_another(harness: ControlPlaneHarness) -> None:
    harness.send(*(submission(f"loud{n}", project="loud") for n in range(20)))
    harness.submit("quiet", project="quiet")
    assert "quiet" in [run.order_id for run in FakeWorker(harness).claim(2)]


@pytest.mark.slow
def test_many_partitions_are_read_in_parts(harness: ControlPlaneHarness) -> None:
    for number in range(230):
        brought = to_execution_plan(workflow(job("fn(s => s)")))
        brought["workflow"]["name"] = f"w{number:03}"
        harness.submit(f"o{number}", plan=brought)
    worker = FakeWorker(harness)
    given = [run.order_id for _ in range(3) for run in worker.claim(100)]
    assert sorted(given) == sorted(f"o{number}" for number in range(230))
