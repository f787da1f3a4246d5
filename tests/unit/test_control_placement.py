"""Placement of orders by labels, credentials and adaptors, and limits of rates."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, plan
from worker.fleet.control.claiming import MAX_UNMET
from worker.fleet.control.placement import (
    FreeSlots,
    Offer,
    build_offer,
    decode_words,
    encode_words,
    needed_by_plan,
)
from worker.fleet.control.policy import Policy, ProjectLimits, RateLimit
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.workflow.load import load

NOTHING: dict[str, Any] = {"credentials": [], "adaptors": []}


def join(harness: ControlPlaneHarness, name: str, **offer: Any) -> FakeWorker:
    """Return a worker that has reported what it offers."""
    worker = FakeWorker(harness, name)
    worker.birth(capacity=9, **{**NOTHING, **offer})
    return worker


def claimed(worker: FakeWorker, demand: int = 9) -> list[str]:
    """Return the orders whose runs a worker gets now; it withdraws the rest of its claim."""
    orders = [run.order_id for run in worker.claim(demand)]
    worker.claim(0)
    return sorted(orders)


def flow_with(**fields: Any) -> dict[str, Any]:
    """Return a plan whose first step has these fields."""
    flow = plan("placed")
    flow["workflow"]["steps"][0] |= fields
    return flow


# --- labels ---------------------------------------------------------------------------------------


def test_an_order_waits_for_a_worker_with_its_labels(harness: ControlPlaneHarness) -> None:
    harness.submit("any")
    harness.submit("north", placement=["north"])
    harness.submit("both", placement=["north", "large"])
    assert claimed(join(harness, "south-1", labels=["south"])) == ["any"]
    assert claimed(join(harness, "north-1", labels=["north"])) == ["north"]
    assert claimed(FakeWorker(harness, "unknown")) == [], "it has reported no label"
    assert claimed(join(harness, "north-2", labels=["large", "north"])) == ["both"]


def test_a_label_comes_from_the_order_the_workflow_and_the_project(
    harness: ControlPlaneHarness,
) -> None:
    limits = ProjectLimits(placement=frozenset(("clinic",)))
    harness.restart(policy=Policy(projects={"p": limits}))
    flow = plan()
    flow["options"] = {"placement": ["north"]}
    harness.submit("o", plan=flow, project="p", placement=["large"])
    assert harness.run()["needs"] == ["label:clinic", "label:large", "label:north"]
    assert claimed(join(harness, "a", labels=["north", "large"])) == []
    assert claimed(join(harness, "b", labels=["north", "large", "clinic"])) == ["o"]


def test_orders_that_no_worker_may_get_do_not_hold_up_others(harness: ControlPlaneHarness) -> None:
    for number in range(100):
        harness.submit(f"n{number}", placement=["north"])
    harness.submit("any")
    assert claimed(join(harness, "south-1", labels=["south"]), 1) == ["any"]


def test_a_retry_has_the_labels_of_its_order(harness: ControlPlaneHarness) -> None:
    harness.submit("o", placement=["north"])
    harness.call("cancel", id="o")
    harness.call("retry", id="o", run_id="again")
    assert claimed(join(harness, "south-1")) == []
    assert claimed(join(harness, "north-1", labels=["north"])) == ["o"]


def test_a_retry_with_the_latest_workflow_has_its_labels_and_not_those_before(
    harness: ControlPlaneHarness,
) -> None:
    def register(label: str, clinic: str) -> None:
        flow = plan("placed")
        flow["options"] = {"placement": [label]}
        registry = WorkflowRegistry()
        registry.add(load(flow))
        limits = ProjectLimits(placement=frozenset((clinic,)))
        harness.processor.reload(Policy(default=limits), registry)

    register("north", "clinic-1")
    harness.submit("o", workflow="placed", placement=["large", "north"])
    harness.submit("plain", workflow="placed")
    register("south", "clinic-2")
    for order_id in ("o", "plain"):
        harness.call("cancel", id=order_id)
        harness.call("retry", id=order_id, run_id=f"{order_id}-again", latest=True)
    own = ["label:large", "label:north"]
    assert harness.run("o-again")["needs"] == ["label:clinic-2", *own, "label:south"]
    assert harness.run("plain-again")["needs"] == ["label:clinic-2", "label:south"]


@pytest.mark.slow
def test_the_work_of_a_batch_is_bounded_whatever_labels_wait(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2 * MAX_UNMET):
        harness.submit(f"n{number:03}", placement=[f"label-{number}"])
    harness.submit("met", project="p")
    queries = Counter[str]()
    waiting_runs = Transaction.waiting_runs

    def count(transaction: Transaction, queue: Any, *arguments: Any) -> Any:
        queries[queue.project] += 1
        return waiting_runs(transaction, queue, *arguments)

    monkeypatch.setattr(Transaction, "waiting_runs", count)
    assert claimed(join(harness, "w"), 1) == ["met"]
    assert queries["default"] <= MAX_UNMET
    assert claimed(join(harness, "w-5", labels=["label-5"]), 1) == ["n005"]


# --- credentials and adaptors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "able"),
    [
        ({"configuration": "prod"}, {"credentials": ["prod"]}),
        ({"adaptors": ["http@7.2.10"]}, {"adaptors": ["@openfn/language-http@7.2.10"]}),
        ({"adaptors": ["http@latest"]}, {"adaptors": ["@openfn/language-http@6.0.0"]}),
    ],
)
def test_a_worker_that_lacks_something_is_not_chosen(
    harness: ControlPlaneHarness, step: dict[str, Any], able: dict[str, Any]
) -> None:
    policy = Policy(allows_everything=True)
    harness.restart(policy=policy)
    unable = join(harness, "unable")
    able_worker = join(harness, "able", **able)
    able_worker.will()
    harness.submit("o", plan=flow_with(**step))
    assert claimed(unable) == [], "the worker that is able may come back"
    able_worker.birth(capacity=9, **{**NOTHING, **able})
    assert claimed(able_worker) == ["o"]


def test_what_no_worker_of_the_fleet_has_holds_up_no_order(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=Policy(allows_everything=True))
    harness.submit("o", plan=flow_with(configuration="nowhere"))
    assert claimed(join(harness, "north-1")) == ["o"], "the run ends with the error that names it"


def test_a_worker_that_was_away_for_a_day_is_not_waited_for(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=Policy(allows_everything=True))
    join(harness, "able", credentials=["prod"]).will()
    unable = join(harness, "unable")
    harness.submit("o", plan=flow_with(configuration="prod"))
    harness.pass_time(86_401)
    assert claimed(unable) == ["o"]


def test_workers_are_listed_with_what_they_offer(harness: ControlPlaneHarness) -> None:
    join(harness, "north-1", labels=["north"], credentials=["prod"])
    (row,) = harness.call("workers")
    assert row["offers"] == ["credential:prod", "label:north"]


# --- slots ----------------------------------------------------------------------------------------


def test_slots_are_taken_of_each_worker_in_turn() -> None:
    slots = FreeSlots({"a": 3, "b": 1}, {}, ())
    assert [slots.take(frozenset()) for _ in range(5)] == ["a", "b", "a", "a", None]
    assert slots.count == 0


def test_a_slot_is_kept_for_a_worker_that_may_get_the_run() -> None:
    north = Offer(frozenset(("label:north",)), True)
    slots = FreeSlots({"south": 2, "north": 1}, {"north": north, "south": Offer()}, [north])
    needs = frozenset(("label:north",))
    assert [slots.take(needs), slots.take(needs), slots.take(frozenset())] == [
        "north", None, "south",
    ]  # fmt: skip


def test_words_are_stored_and_read_again() -> None:
    words = frozenset(("credential:the main one", "label:north"))
    assert decode_words(encode_words(words)) == words
    assert (encode_words([]), decode_words("")) == ("", frozenset())


def test_the_built_in_adaptor_is_no_need() -> None:
    text = '{"workflow": {"steps": [{"adaptors": ["common@3.3.4", "http"]}]}}'
    assert needed_by_plan(text, [], []) == {"adaptor:@openfn/language-http@latest"}
    offer = build_offer([], [], ["@openfn/language-http@7.2.10"])
    assert offer.meets(needed_by_plan(text, [], []))


# --- rates ----------------------------------------------------------------------------------------


def test_no_more_runs_of_a_workflow_begin_than_its_rate(harness: ControlPlaneHarness) -> None:
    limits = ProjectLimits(rates={"flow": RateLimit(runs=2, period_s=60)})
    harness.restart(policy=Policy(projects={"p": limits}))
    for number in range(3):
        harness.submit(f"o{number}", project="p")
    harness.submit("other", project="p", workflow="other")
    worker = FakeWorker(harness)
    assert claimed(worker) == ["o0", "o1", "other"]
    harness.pass_time(59)
    assert claimed(worker) == []
    harness.pass_time(2)
    assert claimed(worker) == ["o2"]


def test_the_rate_of_a_credential_is_that_of_all_projects(harness: ControlPlaneHarness) -> None:
    rates = {"prod": RateLimit(runs=3, period_s=60)}
    harness.restart(policy=Policy(allows_everything=True, credential_rates=rates))
    for number in range(4):
        flow = flow_with(configuration="prod")
        harness.submit(f"o{number}", project=f"p{number % 2}", plan=flow)
    harness.submit("other")
    worker = FakeWorker(harness)
    assert claimed(worker) == ["o0", "o1", "o2", "other"]
    harness.pass_time(61)
    assert claimed(worker) == ["o3"]
