"""Leases: expiry, heartbeats, releases, and the presence of workers. On both databases."""

from __future__ import annotations

from tests.support.benches import Bench, FakeWorker
from worker.fleet.control.lifecycle import ATTEMPTS
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire

LEASE_S = Settings().lease_s
DISCONNECT_GRACE_S = Settings().disconnect_grace_s


def attempt(run_id: str, number: int = 1) -> wire.Attempt:
    return wire.Attempt(run_id=run_id, attempt=number)


# --- leases ---------------------------------------------------------------------------------------


def test_a_claim_that_is_not_started_goes_to_another(bench: Bench) -> None:
    worker, lease = bench.claimed()
    bench.wait(LEASE_S - 1)
    assert bench.call("summary")["leased"] == 1
    published = bench.wait(1)
    assert not published.states, "it was pending and is pending"
    (again,) = FakeWorker(bench, "south").claim()
    assert again.lease.attempt == 2
    assert worker.start(lease).refused


def test_a_run_is_lost_after_five_claims_that_were_not_started(bench: Bench) -> None:
    bench.submit("o")
    worker = FakeWorker(bench)
    for attempt in range(1, ATTEMPTS + 1):
        (run,) = worker.claim()
        assert run.lease.attempt == attempt
        published = bench.wait(LEASE_S)
    assert published.statuses == ["lost"]
    assert [alert.error_type for alert in published.alerts] == ["LostAfterClaim"]
    assert worker.claim() == []


def test_a_started_run_without_heartbeats_is_lost(bench: Bench) -> None:
    bench.started()
    published = bench.wait(LEASE_S)
    assert published.statuses == ["lost"] and published.ended == {"lost": 1}
    assert [alert.error_type for alert in published.alerts] == ["LostAfterStart"]
    assert bench.wait(LEASE_S).states == []


def test_heartbeats_renew_a_lease(bench: Bench) -> None:
    worker, lease = bench.started()
    for _ in range(4):
        bench.wait(LEASE_S - 1)
        published = worker.heartbeat(lease)
        assert not published.commands and not published.refusals
    assert bench.status() == "running"


def test_a_heartbeat_of_a_run_that_has_ended_gets_the_command_to_abandon_it(bench: Bench) -> None:
    worker, lease = bench.started()
    bench.wait(LEASE_S)
    before = bench.dump()
    assert worker.heartbeat(lease).commands == [wire.Command(abandon=[attempt("o-1")])]
    assert bench.dump() == before


def test_no_lease_expires_while_disconnected(bench: Bench) -> None:
    bench.started()
    bench.disconnect()
    assert not bench.wait(10 * LEASE_S).states


def test_leases_expire_a_full_lease_after_a_reconnect(bench: Bench) -> None:
    bench.started()
    bench.disconnect()
    bench.wait(10 * LEASE_S)
    bench.connect()
    assert not bench.wait(LEASE_S - 0.5).states
    assert bench.wait(0.5).statuses == ["lost"]


def test_no_lease_expires_before_the_first_connection(bench: Bench) -> None:
    bench.started()
    bench.start()
    assert not bench.wait(10 * LEASE_S).states
    bench.connect()
    assert bench.wait(LEASE_S).statuses == ["lost"]


def test_a_processor_that_was_suspended_gives_workers_a_full_lease(bench: Bench) -> None:
    """Heartbeats that came meanwhile wait to be read."""
    bench.started()
    bench.wait(1)
    bench.pass_time(10 * LEASE_S)
    assert not bench.tick().states
    assert not bench.wait(LEASE_S - 0.5).states
    assert bench.wait(0.5).statuses == ["lost"]


def test_a_run_that_is_handed_back_goes_to_another_at_once(bench: Bench) -> None:
    worker, lease = bench.claimed()
    other = FakeWorker(bench, "south")
    assert other.claim() == []
    published = worker.release(lease)
    (answer,) = published.assignments
    assert answer.runs[0].lease.attempt == 2
    assert not worker.release(lease).assignments, "the second time has no effect"


def test_a_run_that_was_started_is_not_handed_back(bench: Bench) -> None:
    worker, lease = bench.started()
    before = bench.dump()
    worker.release(lease)
    assert bench.dump() == before


# --- presence -------------------------------------------------------------------------------------


def test_a_will_shortens_the_lease_to_the_grace(bench: Bench) -> None:
    worker, _ = bench.started()
    bench.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    worker.birth()
    worker.will()
    assert not bench.wait(DISCONNECT_GRACE_S - 0.5).states
    assert bench.wait(1).statuses == ["lost"]


def test_a_heartbeat_after_a_will_restores_the_lease(bench: Bench) -> None:
    worker, lease = bench.started()
    bench.wait(LEASE_S - 1)
    worker.heartbeat(lease)
    worker.will()
    bench.wait(DISCONNECT_GRACE_S - 1)
    worker.heartbeat(lease)
    assert not bench.wait(LEASE_S - 0.5).states


def test_the_will_of_an_older_incarnation_is_ignored(bench: Bench) -> None:
    old, new = FakeWorker(bench, incarnation="i1"), FakeWorker(bench, incarnation="i2")
    bench.submit("o")
    old.birth()
    new.birth()
    (run,) = new.claim()
    new.start(run.lease)
    before = bench.dump()
    for published in (old.will(), old.birth()):
        assert published.kinds == ["stale"]
    assert bench.dump() == before
    (row,) = bench.call("workers")
    assert (row["incarnation"], bool(row["online"])) == ("i2", True)


def test_the_birth_of_a_newer_incarnation_shortens_what_the_older_had(bench: Bench) -> None:
    _, lease = bench.started()
    bench.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    new = FakeWorker(bench, incarnation="i2")
    new.birth()
    assert bench.wait(DISCONNECT_GRACE_S + 0.5).statuses == ["lost"]
    assert new.heartbeat(lease).commands == [wire.Command(abandon=[attempt("o-1")])]


def test_a_birth_again_takes_nothing_away(bench: Bench) -> None:
    worker, lease = bench.started()
    worker.birth()
    bench.wait(LEASE_S - 1)
    worker.birth()
    worker.heartbeat(lease)
    assert not bench.wait(DISCONNECT_GRACE_S + 1).states


def test_the_will_of_one_worker_is_not_that_of_another(bench: Bench) -> None:
    bench.started()
    bench.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    FakeWorker(bench, "south").will()
    assert not bench.wait(DISCONNECT_GRACE_S + 1).states


def test_workers_are_shown_with_what_they_have(bench: Bench) -> None:
    worker, _ = bench.started()
    worker.birth(capacity=4, version="1")
    (row,) = bench.call("workers")
    assert (row["name"], row["capacity"]) == ("north", 4)
    assert [lease["run_id"] for lease in row["leases"]] == ["o-1"]
    assert bench.call("summary") == {
        "orders": {"running": 1}, "available": 0, "leased": 1, "workers": 1,
    }  # fmt: skip
