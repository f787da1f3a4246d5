"""States, alerts and retention. On both databases."""

from __future__ import annotations

import pytest

from tests.support.benches import TOPICS, Bench, event, request, submission
from worker.fleet.control.unit_of_work import Settings

LEASE_S = Settings().lease_s


# --- alerts and states ----------------------------------------------------------------------------


def test_only_exceptions_and_losses_alert(bench: Bench) -> None:
    for reason in ("success", "fail", "crash", "kill", "cancel"):
        worker, lease = bench.started(reason)
        assert not worker.report(
            lease, event(f"{reason}-1", 1, "run:complete", reason=reason)
        ).alerts
    worker, lease = bench.started("o")
    published = worker.report(lease, event("o-1", 1, "run:complete", reason="exception"))
    assert [alert.run_id for alert in published.alerts] == ["o-1"]
    assert [alert["run_id"] for alert in bench.call("alerts")] == ["o-1"]


def test_an_alert_is_sent_once(bench: Bench) -> None:
    worker, lease = bench.ended(reason="exception")
    bench.processor.mark_notified(["o-1"], bench.now)
    worker.finish(lease, 1, "exception")
    assert not bench.wait(LEASE_S).alerts
    assert not bench.restart().alerts


def test_an_alert_that_was_not_delivered_is_sent_after_a_restart(bench: Bench) -> None:
    bench.ended(reason="exception")
    (alert,) = bench.restart().alerts
    assert (alert.run_id, alert.status) == ("o-1", "exception")
    bench.processor.mark_notified(["o-1"], bench.now)
    assert not bench.restart().alerts


def test_states_are_published_again_after_a_reconnect(bench: Bench) -> None:
    bench.ended("long-ago")
    bench.wait(60)
    worker, lease = bench.started("o")
    bench.disconnect()
    bench.pass_time(1)
    worker.finish(lease)
    published = bench.connect()
    assert [(state.run_id, state.status) for state in published.states] == [("o-1", "success")]


def test_states_are_published_again_after_a_crash_but_only_those_that_may_be_lost(
    bench: Bench,
) -> None:
    bench.ended("long-ago")
    bench.wait(60)
    bench.submit("o")
    for _ in range(3):
        assert [state.run_id for state in bench.restart().states] == ["o-1"]
        bench.tick()


def test_the_state_of_a_final_run_expires_at_the_broker(bench: Bench) -> None:
    worker, lease = bench.started()
    message = worker.reports(lease, event("o-1", 1, "run:complete"))
    published = bench.processor.process([message], bench.now).messages
    (state,) = [one for one in published if one.topic == TOPICS.run("o-1", "state")]
    assert state.retain and state.expiry_s > 0


# --- retention ------------------------------------------------------------------------------------


def test_orders_that_ended_long_ago_are_deleted_with_all_their_rows(bench: Bench) -> None:
    bench.wait(1)
    fresh = bench.dump()
    for reason in ("success", "exception"):
        worker, lease = bench.started(reason)
        clip = {"final_state": {}, "final_dataclip_id": "c"}
        worker.report(lease, event(f"{reason}-1", 1, "run:complete", reason=reason, **clip))
        worker.acked(lease, event(f"{reason}-1", 2))
    bench.restart(settings=Settings(retain_s=3600))
    bench.wait(1)
    assert len(bench.dump()["orders"]) == 2
    bench.pass_time(3600)
    bench.tick()
    for name in ("orders", "runs", "clips", "events", "stale_reports", "alerts", "plans"):
        assert bench.dump()[name] == fresh[name] == [], name


def test_nothing_else_is_deleted(bench: Bench) -> None:
    bench.restart(settings=Settings(retain_s=3600))
    for order_id in ("old", "retried", "other"):
        bench.ended(order_id)
    bench.started("going")
    bench.submit("waits", input={"data": 1})
    bench.disconnect()  # so that the lease does not expire
    bench.pass_time(1800)
    bench.call("retry", id="retried", run_id="young")
    bench.pass_time(1801)
    bench.tick()
    left = {order["order_id"]: order["runs"] for order in bench.call("orders")}
    assert left == {"retried": 2, "going": 1, "waits": 1}
    assert {row[0] for row in bench.dump()["runs"]} == {
        "retried-1", "young", "going-1", "waits-1",
    }  # fmt: skip
    assert len(bench.dump()["clips"]) == 3, "the inputs of all that are left"
    assert len(bench.dump()["plans"]) == 1


def test_many_orders_are_deleted_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.fleet.control.retention.BATCH_SIZE", 2)
    bench.restart(settings=Settings(retain_s=10))
    bench.send(*(submission(f"o{n}") for n in range(7)))
    bench.send(*(request("cancel", id=f"o{n}") for n in range(7)))
    bench.pass_time(60)
    bench.wait(5)
    assert bench.call("orders") == []


def test_nothing_is_deleted_without_a_retention_time(bench: Bench) -> None:
    bench.ended()
    bench.pass_time(10 * 365 * 86_400)
    bench.tick()
    assert bench.status() == "success"
