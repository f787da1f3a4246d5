"""Fairness between projects, priorities and workflows, through the database. On both databases."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.control_plane_harness import (
    ControlPlaneHarness,
    FakeWorker,
    plan,
    rows,
    submission,
)
from worker.fleet.control import claiming
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.queue import AGEING_S, ProjectQueue, QueuePlace
from worker.fleet.control.store import tables
from worker.fleet.control.store.transaction import Transaction

PAGE_SIZE = 20


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read few queues at a time, so that few are many."""
    monkeypatch.setattr(claiming, "PAGE_SIZE", PAGE_SIZE)


def submit_all(harness: ControlPlaneHarness, projects: int, orders: int) -> None:
    """Submit orders of many projects, each with a workflow for each order."""
    for number in range(orders):
        harness.send(
            *(submission(f"p{p:03}-{number}", project=f"p{p:03}") for p in range(projects))
        )


def take(harness: ControlPlaneHarness, count: int) -> list[str]:
    """Lease a run, end it, and so on; return the orders in their order."""
    worker, taken = FakeWorker(harness), []
    for _ in range(count):
        (run,) = worker.claim()
        worker.finish(run.lease, 0)
        taken.append(run.order_id)
    return taken


def test_all_projects_have_their_turn_however_many_there_are(
    harness: ControlPlaneHarness,
) -> None:
    projects = PAGE_SIZE + 20
    submit_all(harness, projects, 2)
    harness.pass_time(1)
    first = [order.partition("-")[0] for order in take(harness, projects)]
    assert set(Counter(first).values()) == {1}


def test_an_urgent_order_is_next_however_many_queues_there_are(
    harness: ControlPlaneHarness,
) -> None:
    submit_all(harness, PAGE_SIZE + 20, 1)
    harness.submit("urgent", project="z", priority=100)
    assert take(harness, 1) == ["urgent"]


def test_a_project_gains_nothing_by_naming_a_workflow_for_each_order(
    harness: ControlPlaneHarness,
) -> None:
    for number in range(PAGE_SIZE + 10):
        harness.submit(f"loud{number}", project="loud", plan=plan(f"w{number}"))
    harness.submit("quiet", project="quiet")
    assert "quiet" in [run.order_id for run in FakeWorker(harness).claim(2)]


def test_a_low_priority_is_served_in_the_end(harness: ControlPlaneHarness) -> None:
    harness.submit("low", project="patient", priority=-2)
    for number in range(6):
        harness.submit(f"high{number}", project="loud", priority=2)
    assert take(harness, 2) == ["high0", "high1"]
    harness.pass_time(5 * AGEING_S)
    assert take(harness, 3) == ["high2", "low", "high3"], "nobody was served meanwhile"


def test_runs_over_a_workflows_limit_hold_up_no_others(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=Policy(default=ProjectLimits(workflows={"flow": 2, "other": 0})))
    for number in range(5):
        harness.submit(f"stopped{number}", workflow="other", priority=number % 2)
        harness.submit(f"limited{number}", priority=number % 2)
    harness.submit("free", plan=plan("free"), priority=-1)
    harness.submit("elsewhere", project="elsewhere", priority=-1)
    worker = FakeWorker(harness)
    given = worker.claim(10)
    orders = [run.order_id for run in given]
    assert sorted(orders) == ["elsewhere", "free", "limited1", "limited3"]
    assert worker.claim(10, "waiting") == []
    limited = next(run for run in given if run.order_id == "limited1")
    worker.finish(limited.lease, 0)
    assert [run.order_id for run in worker.claim(10, "waiting")] == ["limited0"]


def test_pages_of_queues_over_their_limits_hold_up_no_others(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=Policy(default=ProjectLimits(workflows={"other": 0})))
    for number in range(3 * PAGE_SIZE):
        harness.submit(f"stopped{number}", workflow="other", project=f"p{number}")
    harness.submit("free", project="z")
    assert [run.order_id for run in FakeWorker(harness).claim(5)] == ["free"]


def test_queues_over_their_limits_cost_a_claim_no_more_the_more_there_are(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.restart(policy=Policy(default=ProjectLimits(workflows={"other": 0})))
    for number in range(10 * PAGE_SIZE):
        harness.submit(f"stopped{number}", workflow="other", project=f"p{number}")
    for number in range(2):
        harness.submit(f"free{number}", project=f"z{number}")
    pages, read = [0], Transaction.queues

    def count(transaction: Transaction, most: int, *after: QueuePlace) -> list[ProjectQueue]:
        pages[0] += 1
        return read(transaction, most, *after)

    monkeypatch.setattr(Transaction, "queues", count)
    worker, leased = FakeWorker(harness), list[str]()
    leased += [run.order_id for run in worker.claim(5, "c")]
    while not leased:
        assert pages[0] <= claiming.MAX_PAGES
        pages[0] = 0
        leased += [run.order_id for sent in harness.tick().assignments for run in sent.runs]
    assert leased == ["free0", "free1"], "their turn comes"


def test_an_urgent_order_is_next_however_many_queues_are_over_their_limits(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=Policy(default=ProjectLimits(workflows={"other": 0})))
    for number in range(6 * PAGE_SIZE):
        harness.submit(f"stopped{number}", workflow="other", project=f"p{number}")
    worker = FakeWorker(harness)
    assert worker.claim(1, "c") == []
    harness.submit("urgent", project="z", priority=1)
    assert [run.order_id for run in worker.claim(1, "c")] == ["urgent"]


def test_a_queue_that_is_empty_goes(harness: ControlPlaneHarness) -> None:
    submit_all(harness, 30, 1)
    take(harness, 30)
    FakeWorker(harness).claim(1)
    with harness.store.read() as connection:
        assert rows(connection, tables.QUEUES) == []
    harness.submit("o")
    assert harness.call("summary")["available"] == 0, "the claim that waits has it"
