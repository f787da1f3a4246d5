"""States, alerts and retention. On both databases."""

from __future__ import annotations

import pytest

from tests.support.control_plane_harness import (
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    event,
    request,
    submission,
)
from worker.fleet.control.unit_of_work import Settings

LEASE_S = Settings().lease_s


# --- alerts and states ----------------------------------------------------------------------------


def test_only_exceptions_and_losses_alert(harness: ControlPlaneHarness) -> None:
    for reason in ("success", "fail", "crash", "kill", "cancel"):
        worker, lease = harness.started(reason)
        assert not worker.report(
            lease, event(f"{reason}-1", 1, "run:complete", reason=reason)
        ).alerts
    worker, lease = harness.started("o")
    published = worker.report(lease, event("o-1", 1, "run:complete", reason="exception"))
    assert [alert.run_id for alert in published.alerts] == ["o-1"]
    assert [alert["run_id"] for alert in harness.call("alerts")] == ["o-1"]


def test_an_alert_is_sent_once(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.ended(reason="exception")
    harness.processor.mark_notified(["o-1"], harness.now)
    worker.finish(lease, 1, "exception")
    assert not harness.wait(LEASE_S).alerts
    assert not harness.restart().alerts


def test_an_alert_that_was_not_delivered_is_sent_after_a_restart(
    harness: ControlPlaneHarness,
) -> None:
    harness.ended(reason="exception")
    (alert,) = harness.restart().alerts
    assert (alert.run_id, alert.status) == ("o-1", "exception")
    harness.processor.mark_notified(["o-1"], harness.now)
    assert not harness.restart().alerts


def test_states_are_published_again_after_a_reconnect(harness: ControlPlaneHarness) -> None:
    harness.ended("long-ago")
    harness.wait(60)
    worker, lease = harness.started("o")
    harness.disconnect()
    harness.pass_time(1)
    worker.finish(lease)
    published = harness.connect()
    assert [(state.run_id, state.status) for state in published.states] == [("o-1", "success")]


def test_states_are_published_again_after_a_crash_but_only_those_that_may_be_lost(
    harness: ControlPlaneHarness,
) -> None:
    harness.ended("long-ago")
    harness.wait(60)
    harness.submit("o")
    for _ in range(3):
        assert [state.run_id for state in harness.restart().states] == ["o-1"]
        harness.tick()


def test_the_state_of_a_final_run_expires_at_the_broker(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    message = worker.reports(lease, event("o-1", 1, "run:complete"))
    published = harness.processor.process([message], harness.now).messages
    (state,) = [one for one in published if one.topic == TOPICS.run("o-1", "state")]
    assert state.retain and state.expiry_s > 0


# --- retention ------------------------------------------------------------------------------------


def test_orders_that_ended_long_ago_are_deleted_with_all_their_rows(
    harness: ControlPlaneHarness,
) -> None:
    harness.wait(1)
    fresh = harness.dump()
    for reason in ("success", "exception"):
        worker, lease = harness.started(reason)
        clip = {"final_state": {}, "final_dataclip_id": "c"}
        worker.report(lease, event(f"{reason}-1", 1, "run:complete", reason=reason, **clip))
        worker.acked(lease, event(f"{reason}-1", 2))
    harness.restart(settings=Settings(retain_s=3600))
    harness.wait(1)
    assert len(harness.dump()["orders"]) == 2
    harness.pass_time(3600)
    harness.tick()
    for name in ("orders", "runs", "clips", "events", "stale_reports", "alerts", "plans"):
        assert harness.dump()[name] == fresh[name] == [], name


def test_states_that_have_not_expired_are_deleted_with_their_orders(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(settings=Settings(retain_s=3600, state_expiry_s=7200))
    harness.ended("secret")
    harness.pass_time(3601)
    assert harness.tick().cleared == ["orders/secret/state", "runs/secret-1/state"]
    harness.restart(settings=Settings(retain_s=3600, state_expiry_s=3600))
    harness.ended("expired")
    harness.pass_time(3601)
    assert harness.tick().cleared == [] and harness.call("orders") == []


def test_a_worker_that_is_gone_for_a_month_is_forgotten(harness: ControlPlaneHarness) -> None:
    for name in ("gone", "here"):
        FakeWorker(harness, name).birth()
    harness.pass_time(20 * 86_400)
    FakeWorker(harness, "here").claim()
    harness.pass_time(11 * 86_400)
    assert harness.tick().cleared == ["workers/gone/status"]
    assert [worker["name"] for worker in harness.call("workers")] == ["here"]


def test_nothing_else_is_deleted(harness: ControlPlaneHarness) -> None:
    harness.restart(settings=Settings(retain_s=3600))
    for order_id in ("old", "retried", "other"):
        harness.ended(order_id)
    harness.started("going")
    harness.submit("waits", input={"data": 1})
    harness.disconnect()  # so that the lease does not expire
    harness.pass_time(1800)
    harness.call("retry", id="retried", run_id="young")
    harness.pass_time(1801)
    harness.tick()
    left = {order["order_id"]: order["runs"] for order in harness.call("orders")}
    assert left == {"retried": 2, "going": 1, "waits": 1}
    assert {row[0] for row in harness.dump()["runs"]} == {
        "retried-1", "young", "going-1", "waits-1",
    }  # fmt: skip
    assert len(harness.dump()["clips"]) == 3, "the inputs of all that are left"
    assert len(harness.dump()["plans"]) == 1


def test_many_orders_are_deleted_in_parts(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.control.retention.BATCH_SIZE", 2)
    harness.restart(settings=Settings(retain_s=10))
    harness.send(*(submission(f"o{n}") for n in range(7)))
    harness.send(*(request("cancel", id=f"o{n}") for n in range(7)))
    harness.pass_time(60)
    harness.wait(5)
    assert harness.call("orders") == []


def test_nothing_is_deleted_without_a_retention_time(harness: ControlPlaneHarness) -> None:
    harness.ended()
    harness.pass_time(10 * 365 * 86_400)
    harness.tick()
    assert harness.status() == "success"
