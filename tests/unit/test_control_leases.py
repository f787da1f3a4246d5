"""Leases: expiry, heartbeats, releases, and the presence of workers. On both databases."""

from __future__ import annotations

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker
from worker.fleet.control.lifecycle import ATTEMPTS
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.worker_protocol import Attempt, Command

LEASE_S = Settings().lease_s
DISCONNECT_GRACE_S = Settings().disconnect_grace_s


def attempt(run_id: str, number: int = 1) -> Attempt:
    return Attempt(run_id=run_id, attempt=number)


# --- leases ---------------------------------------------------------------------------------------


def test_a_claim_that_is_not_started_goes_to_another(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    harness.wait(LEASE_S - 1)
    assert harness.call("summary")["leased"] == 1
    published = harness.wait(1)
    assert not published.states, "it was pending and is pending"
    (again,) = FakeWorker(harness, "south").claim()
    assert again.lease.attempt == 2
    assert worker.start(lease).refused


def test_a_run_is_lost_after_five_claims_that_were_not_started(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("o")
    worker = FakeWorker(harness)
    for attempt in range(1, ATTEMPTS + 1):
        (run,) = worker.claim()
        assert run.lease.attempt == attempt
        published = harness.wait(LEASE_S)
    assert published.statuses == ["lost"]
    assert [alert.error_type for alert in published.alerts] == ["LostAfterClaim"]
    assert worker.claim() == []


def test_a_started_run_without_heartbeats_is_lost(harness: ControlPlaneHarness) -> None:
    harness.started()
    published = harness.wait(LEASE_S)
    assert published.statuses == ["lost"] and published.ended == {"lost": 1}
    assert [alert.error_type for alert in published.alerts] == ["LostAfterStart"]
    assert harness.wait(LEASE_S).states == []


def test_heartbeats_renew_a_lease(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    for _ in range(4):
        harness.wait(LEASE_S - 1)
        published = worker.heartbeat(lease)
        assert not published.commands and not published.refusals
    assert harness.status() == "running"


def test_a_heartbeat_of_a_run_that_has_ended_gets_the_command_to_abandon_it(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.started()
    harness.wait(LEASE_S)
    before = harness.dump()
    assert worker.heartbeat(lease).commands == [Command(abandon=[attempt("o-1")])]
    assert harness.dump() == before


def test_no_lease_expires_while_disconnected(harness: ControlPlaneHarness) -> None:
    harness.started()
    harness.disconnect()
    assert not harness.wait(10 * LEASE_S).states


def test_leases_expire_a_full_lease_after_a_reconnect(harness: ControlPlaneHarness) -> None:
    harness.started()
    harness.disconnect()
    harness.wait(10 * LEASE_S)
    harness.connect()
    assert not harness.wait(LEASE_S - 0.5).states
    assert harness.wait(0.5).statuses == ["lost"]


def test_no_lease_expires_before_the_first_connection(harness: ControlPlaneHarness) -> None:
    harness.started()
    harness.start()
    assert not harness.wait(10 * LEASE_S).states
    harness.connect()
    assert harness.wait(LEASE_S).statuses == ["lost"]


def test_a_processor_that_was_suspended_gives_workers_a_full_lease(
    harness: ControlPlaneHarness,
) -> None:
    """Heartbeats that came meanwhile wait to be read."""
    harness.started()
    harness.wait(1)
    harness.pass_time(10 * LEASE_S)
    assert not harness.tick().states
    assert not harness.wait(LEASE_S - 0.5).states
    assert harness.wait(0.5).statuses == ["lost"]


def test_a_run_that_is_handed_back_goes_to_another_at_once(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    other = FakeWorker(harness, "south")
    assert other.claim() == []
    published = worker.release(lease)
    (answer,) = published.assignments
    assert answer.runs[0].lease.attempt == 1
    assert not worker.release(lease).assignments, "the second time has no effect"


def test_a_run_that_was_started_is_not_handed_back(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    before = harness.dump()
    worker.release(lease)
    assert harness.dump() == before


# --- presence -------------------------------------------------------------------------------------


def test_a_will_shortens_the_lease_to_the_grace(harness: ControlPlaneHarness) -> None:
    worker, _ = harness.started()
    harness.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    worker.birth()
    worker.will()
    assert not harness.wait(DISCONNECT_GRACE_S - 0.5).states
    assert harness.wait(1).statuses == ["lost"]


def test_a_heartbeat_after_a_will_restores_the_lease(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    harness.wait(LEASE_S - 1)
    worker.heartbeat(lease)
    worker.will()
    harness.wait(DISCONNECT_GRACE_S - 1)
    worker.heartbeat(lease)
    assert not harness.wait(LEASE_S - 0.5).states


def test_the_will_of_an_older_incarnation_is_ignored(harness: ControlPlaneHarness) -> None:
    old, new = FakeWorker(harness, incarnation="i1"), FakeWorker(harness, incarnation="i2")
    harness.submit("o")
    old.birth()
    harness.wait(LEASE_S)
    new.birth()
    (run,) = new.claim()
    new.start(run.lease)
    before = harness.dump()
    assert old.will().kinds == ["stale"]
    assert harness.dump() == before
    (row,) = harness.call("workers")
    assert (row["incarnation"], bool(row["online"])) == ("i2", True)


def test_the_birth_of_a_newer_incarnation_shortens_what_the_older_had(
    harness: ControlPlaneHarness,
) -> None:
    _, lease = harness.started()
    harness.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    new = FakeWorker(harness, incarnation="i2")
    new.birth()
    assert harness.wait(DISCONNECT_GRACE_S + 0.5).statuses == ["lost"]
    assert new.heartbeat(lease).commands == [Command(abandon=[attempt("o-1")])]


def test_a_birth_again_takes_nothing_away(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    worker.birth()
    harness.wait(LEASE_S - 1)
    worker.birth()
    worker.heartbeat(lease)
    assert not harness.wait(DISCONNECT_GRACE_S + 1).states


def test_the_will_of_one_worker_is_not_that_of_another(harness: ControlPlaneHarness) -> None:
    harness.started()
    harness.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    FakeWorker(harness, "south").will()
    assert not harness.wait(DISCONNECT_GRACE_S + 1).states


def test_workers_are_shown_with_what_they_have(harness: ControlPlaneHarness) -> None:
    worker, _ = harness.started()
    worker.birth(capacity=4, version="1")
    (row,) = harness.call("workers")
    assert (row["name"], row["capacity"]) == ("north", 4)
    assert [lease["run_id"] for lease in row["leases"]] == ["o-1"]
    assert harness.call("summary") == {
        "orders": {"running": 1}, "delayed": 0, "available": 0, "leased": 1, "workers": 1,
    }  # fmt: skip
