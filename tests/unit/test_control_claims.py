"""Claims: which runs a worker gets, and when. On both databases."""

from __future__ import annotations

import pytest

from tests.support.benches import Bench, FakeWorker, submission
from tests.support.helpers import job, workflow
from worker.workflow.save import to_execution_plan


def test_a_claim_gets_as_many_runs_as_it_demands_and_as_wait(bench: Bench) -> None:
    runs = [bench.submit(f"o{n}") for n in range(3)]
    worker = FakeWorker(bench)
    assert [run.lease.run_id for run in worker.claim(2)] == runs[:2]
    assert [run.lease.run_id for run in worker.claim(2)] == runs[2:]


def test_a_repeated_claim_gets_the_same_runs_and_tokens(bench: Bench) -> None:
    bench.submit("o1")
    bench.submit("o2")
    worker = FakeWorker(bench)
    given = worker.claim(1, "c")
    bench.restart()
    assert [run.lease for run in worker.claim(5, "c")] == [run.lease for run in given]
    assert [run.input for run in worker.claim(5, "c")] == [run.input for run in given]
    assert bench.call("summary")["available"] == 1


def test_a_repeated_claim_does_not_get_runs_that_have_started_since(bench: Bench) -> None:
    bench.submit("o1")
    bench.submit("o2")
    worker = FakeWorker(bench)
    first, second = worker.claim(2, "c")
    worker.start(first.lease)
    assert worker.claim(2, "c") == [second]


def test_the_claim_of_another_is_not_answered_with_its_runs(bench: Bench) -> None:
    bench.submit("o")
    FakeWorker(bench).claim(1, "c")
    assert FakeWorker(bench, "south").claim(1, "c") == []


def test_a_claim_waits_for_orders_and_is_answered_once(bench: Bench) -> None:
    assert FakeWorker(bench).claim(2, "c") == []
    published = bench.send(submission("o1"))
    (answer,) = published.assignments
    assert (answer.claim_id, len(answer.runs)) == ("c", 1)
    assert bench.send(submission("o2")).assignments == [], "one answer for each claim"


def test_a_claim_that_waits_twice_is_one(bench: Bench) -> None:
    worker = FakeWorker(bench)
    worker.claim(1, "c")
    worker.claim(1, "c")
    assert len(bench.send(submission("o1"), submission("o2")).assignments) == 1
    assert bench.call("summary")["available"] == 1


def test_demand_zero_withdraws_a_claim(bench: Bench) -> None:
    worker = FakeWorker(bench)
    worker.claim(2, "c")
    worker.claim(0, "c")
    assert bench.send(submission("o")).assignments == []


def test_demand_zero_still_returns_what_was_assigned(bench: Bench) -> None:
    bench.submit("o")
    worker = FakeWorker(bench)
    given = worker.claim(1, "c")
    assert worker.claim(0, "c") == given


@pytest.mark.parametrize("leave", ["will", "reborn", "disconnected"])
def test_the_claim_of_a_worker_that_disconnected_is_dropped(bench: Bench, leave: str) -> None:
    worker = FakeWorker(bench)
    worker.birth()
    worker.claim(1)
    match leave:
        case "will":
            worker.will()
        case "reborn":
            FakeWorker(bench, incarnation="i2").birth()
        case "disconnected":
            bench.disconnect()
            bench.connect()
    assert bench.send(submission("o")).assignments == []


def test_runs_are_distributed_over_workers_that_wait(bench: Bench) -> None:
    for name in ("north", "south"):
        FakeWorker(bench, name).claim(4)
    published = bench.send(*(submission(f"o{n}") for n in range(4)))
    assert [len(answer.runs) for answer in published.assignments] == [2, 2]


def test_higher_priorities_go_first_and_then_the_oldest(bench: Bench) -> None:
    for order_id, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 7)):
        bench.submit(order_id, priority=priority)
    given = [run.order_id for run in FakeWorker(bench).claim(4)]
    assert given == ["high", "first", "second", "low"]


def test_a_project_that_floods_does_not_hold_up_another(bench: Bench) -> None:
    bench.send(*(submission(f"loud{n}", project="loud") for n in range(20)))
    bench.submit("quiet", project="quiet")
    assert "quiet" in [run.order_id for run in FakeWorker(bench).claim(2)]


def test_many_partitions_are_read_in_parts(bench: Bench) -> None:
    for number in range(230):
        brought = to_execution_plan(workflow(job("fn(s => s)")))
        brought["workflow"]["name"] = f"w{number:03}"
        bench.submit(f"o{number}", plan=brought)
    worker = FakeWorker(bench)
    given = [run.order_id for _ in range(3) for run in worker.claim(100)]
    assert sorted(given) == sorted(f"o{number}" for number in range(230))
