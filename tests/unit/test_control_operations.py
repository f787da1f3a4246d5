"""Pauses, changes of many orders, acknowledged alerts, and who did what."""

from __future__ import annotations

from typing import Any

import msgspec
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
from worker.fleet.control.policy import ClientRights, Policy
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging.client_messages import OrderQuery
from worker.workflow.load import load


def claimed(harness: ControlPlaneHarness, demand: int = 9) -> list[str]:
    """Return the orders whose runs a worker gets now; what it does not get it withdraws."""
    worker = FakeWorker(harness)
    orders = [run.order_id for run in worker.claim(demand)]
    worker.claim(0)
    return orders


def ask(harness: ControlPlaneHarness, client: str, method: str, **fields: Any) -> Any:
    """Return the reply to the request of a user of the broker."""
    message = to(TOPICS.request(method, client), fields, reply_to=ME)
    (reply,) = harness.send(message).replies
    if reply.error is not None:
        return reply.error.code
    return msgspec.json.decode(bytes(reply.ok))


# --- pauses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pause", "runs"),
    [
        ({"workflow": "flow"}, ["other-p", "other-q"]),
        ({"workflow": "flow", "project": "p"}, ["other-p", "flow-q", "other-q"]),
        ({"project": "p"}, ["flow-q", "other-q"]),
    ],
)
def test_what_is_paused_waits_until_it_is_resumed(
    harness: ControlPlaneHarness, pause: dict[str, str], runs: list[str]
) -> None:
    assert harness.call("pause", **pause)["paused"]
    for project in ("p", "q"):
        for workflow in ("flow", "other"):
            harness.submit(f"{workflow}-{project}", workflow=workflow, project=project)
    harness.restart()
    assert sorted(claimed(harness)) == sorted(runs)
    harness.call("resume", **pause)
    assert len(claimed(harness)) == 4 - len(runs)
    assert harness.call("pauses") == []


def test_a_pause_by_the_key_of_a_workflow_is_of_its_name(harness: ControlPlaneHarness) -> None:
    registry = WorkflowRegistry()
    registry.add(load(plan("Case referral")), "referral")
    harness.restart(registry=registry)
    assert harness.call("pause", workflow="referral")["workflow"] == "Case referral"
    harness.submit("o", workflow="referral")
    assert claimed(harness) == []
    assert harness.call("resume", workflow="referral")["was_paused"]
    assert not harness.call("resume", workflow="referral")["was_paused"]
    assert claimed(harness) == ["o"]


def test_a_run_that_a_worker_has_goes_on_through_a_pause(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    harness.call("pause", workflow="flow")
    assert worker.finish(lease).upto == 1
    assert harness.status() == "success"


def test_a_pause_names_who_made_it_and_when(harness: ControlPlaneHarness) -> None:
    for _ in range(2):
        ask(harness, "alice", "pause", workflow="flow")
    (pause,) = harness.call("pauses")
    assert (pause["workflow"], pause["project"], pause["client"]) == ("flow", None, "alice")
    ask(harness, "bob", "resume", workflow="flow")
    done = [(row["client"], row["action"]) for row in harness.call("actions")]
    assert done == [("alice", "pause"), ("alice", "pause"), ("bob", "resume")]


def test_a_pause_of_nothing_is_refused(harness: ControlPlaneHarness) -> None:
    assert harness.failure("pause").code == "invalid"


def test_a_paused_workflow_does_not_hold_up_the_others_of_its_queue(
    harness: ControlPlaneHarness,
) -> None:
    harness.call("pause", workflow="flow")
    harness.send(*(submission(f"o{n}") for n in range(200)), submission("last", workflow="other"))
    assert claimed(harness, 1) == ["last"]


# --- many orders ----------------------------------------------------------------------------------


def change(harness: ControlPlaneHarness, **fields: Any) -> tuple[int, dict[str, int]]:
    """Request a change page by page. Return how many were changed, and skipped by reason."""
    changed, skipped, place = 0, dict[str, int](), dict[str, Any]()
    while True:
        step = harness.call("bulk", batch="b1", **fields, **place)
        changed += step["changed"]
        skipped |= step["skipped"]
        if step["next"] is None:
            return changed, skipped
        place = step["next"]


@pytest.mark.slow
def test_many_orders_are_cancelled(harness: ControlPlaneHarness) -> None:
    harness.ended("done")
    harness.send(*(submission(f"o{n:03}", tags=["batch"]) for n in range(450)))
    harness.submit("other", workflow="other")
    dry = harness.call("bulk", action="cancel", batch="b", workflow="flow", dry_run=True)
    assert (dry["matching"], dry["changed"]) == (450, 0)
    assert change(harness, action="cancel", tag="batch") == (450, {})
    assert [order["status"] for order in harness.call("orders", status="pending")] == ["pending"]
    assert harness.order("done")["status"] == "success"


def test_many_orders_are_retried_in_the_order_in_which_they_were_received(
    harness: ControlPlaneHarness,
) -> None:
    for number in (3, 1, 2):
        harness.ended(f"o{number}", "fail")
    harness.ended("good")
    for _ in range(2):
        assert change(harness, action="retry", status="failed")[0] in (3, 0)
    assert claimed(harness) == ["o3", "o1", "o2"]
    assert harness.order("good")["runs"] == 1


def test_a_request_changes_no_more_than_its_limit(harness: ControlPlaneHarness) -> None:
    for number in range(3):
        harness.submit(f"o{number}")
    step = harness.call("bulk", action="cancel", batch="b", limit=2)
    assert (step["matching"], step["changed"]) == (2, 2)
    assert [order["order_id"] for order in harness.call("orders", status="pending")] == ["o2"]
    for place in ({"before": 1}, {"beyond": "o1"}):
        assert harness.failure("bulk", action="cancel", batch="b", **place).code == "invalid"
    step = harness.call("bulk", action="cancel", batch="b", limit=2, **step["next"])
    assert (step["changed"], step["next"]) == (1, None)


def test_a_repeated_request_retries_no_order_twice(harness: ControlPlaneHarness) -> None:
    worker, _ = harness.ended("o", "fail")
    for _ in range(3):
        change(harness, action="retry", status="failed")
        for run in worker.claim(1):
            worker.start(run.lease)
            worker.finish(run.lease, reason="fail")
    assert harness.order("o")["runs"] == 2


def test_orders_that_cannot_be_changed_are_counted_as_skipped(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.started("a", unique="k")
    worker.finish(lease, reason="fail")
    harness.submit("b", unique="k")
    assert change(harness, action="retry", status="failed") == (0, {"conflict": 1})


def test_a_change_of_many_needs_the_right_to_change_one(harness: ControlPlaneHarness) -> None:
    rights = {
        "canceller": ClientRights(may=frozenset(("cancel",))),
        "reader": ClientRights(may=frozenset(("read",))),
        "north": ClientRights(may=frozenset(("cancel",)), projects=frozenset(("north",))),
    }
    harness.restart(policy=Policy(clients=rights))
    bulk = {"batch": "b", "dry_run": True}
    assert ask(harness, "canceller", "bulk", action="cancel", **bulk)["matching"] == 0
    assert ask(harness, "canceller", "bulk", action="retry", **bulk) == "denied"
    assert ask(harness, "reader", "bulk", action="cancel", **bulk) == "denied"
    assert ask(harness, "north", "bulk", action="cancel", **bulk) == "denied"
    assert ask(harness, "north", "bulk", action="cancel", project="north", **bulk)["next"] is None
    for method in ("pause", "resume"):
        assert ask(harness, "reader", method, workflow="flow") == "denied"


# --- who did what ---------------------------------------------------------------------------------


def test_an_order_shows_who_cancelled_and_retried_it(harness: ControlPlaneHarness) -> None:
    harness.submit()
    message = to(
        TOPICS.request("cancel", "alice"), {"id": "o"}, reply_to=ME, correlation=b"request-1"
    )
    harness.send(message)
    harness.send(message)
    ask(harness, "bob", "retry", id="o", run_id="again")
    actions = [(row["client"], row["action"], row["detail"]) for row in harness.order()["actions"]]
    assert actions == [("alice", "cancel", "o-1"), ("bob", "retry", "again")]


def test_an_alert_shows_who_acknowledged_it_first(harness: ControlPlaneHarness) -> None:
    harness.ended("o", "exception")
    for client in ("alice", "bob"):
        assert ask(harness, client, "acknowledge", run_id="o-1") == {"run_id": "o-1"}
    (alert,) = harness.call("alerts")
    assert (alert["acknowledged_by"], alert["acknowledged"] > alert["at"]) == ("alice", True)
    assert harness.failure("acknowledge", run_id="none").code == "unknown"
    assert [row["client"] for row in harness.order()["actions"]] == ["alice"]


def test_the_record_of_who_did_what_is_deleted_with_the_orders(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.control.retention.BATCH_SIZE", 2)
    harness.restart(settings=Settings(retain_s=3600))
    for number in range(5):
        harness.call("pause", project=f"p{number}")
    harness.pass_time(3000)
    harness.call("pause", project="later")
    assert len(harness.call("actions")) == 6
    harness.pass_time(1800)
    for _ in range(4):
        harness.tick()
    assert [row["subject"] for row in harness.call("actions")] == ["later"]


def test_pages_follow_each_other(harness: ControlPlaneHarness) -> None:
    harness.send(*(submission(f"o{n}") for n in range(7)))
    query: dict[str, Any] = {"limit": 3}
    seen = []
    while page := harness.call("orders", **query):
        seen += [order["order_id"] for order in page]
        query |= {"before": page[-1]["created"], "beyond": page[-1]["order_id"]}
    assert seen == [f"o{n}" for n in reversed(range(7))]
    assert OrderQuery().limit == 50
