"""Clocks that are set back or forth: no healthy run is lost, and a loss is noticed a lease later."""

from __future__ import annotations

import pytest

from tests.support.control_plane_harness import SECOND, ControlPlaneHarness, FakeWorker
from worker.fleet.control.plane_clock import PlaneClock
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.worker_protocol import Lease

LEASE_S = Settings().lease_s
HOUR = 3600 * SECOND
JUMPS = pytest.mark.parametrize("jump_s", [-3600, -60, -2, 2, 60, 3600])


def beat(harness: ControlPlaneHarness, worker: FakeWorker, lease: Lease) -> list[str]:
    """Let a lease pass with heartbeats; return the statuses that were published."""
    statuses = []
    for _ in range(8):
        statuses += harness.wait(LEASE_S / 4).statuses
        worker.heartbeat(lease)
    return statuses


@pytest.mark.slow
@JUMPS
def test_a_healthy_run_survives_a_jump(harness: ControlPlaneHarness, jump_s: float) -> None:
    worker, lease = harness.started()
    harness.wait(LEASE_S / 2)
    harness.now += int(jump_s * SECOND)
    assert beat(harness, worker, lease) == []
    harness.now -= int(jump_s * SECOND)
    assert beat(harness, worker, lease) == []


@JUMPS
def test_a_loss_is_noticed_at_most_a_lease_after_a_jump(
    harness: ControlPlaneHarness, jump_s: float
) -> None:
    harness.tick()
    harness.started()
    harness.now += int(jump_s * SECOND)
    harness.tick()
    assert harness.wait(LEASE_S + 1).statuses == ["lost"]


@JUMPS
def test_a_loss_is_noticed_where_the_clock_was_set_between_two_starts(
    harness: ControlPlaneHarness, jump_s: float
) -> None:
    harness.started()
    harness.now += int(jump_s * SECOND)
    harness.restart()
    assert not harness.wait(LEASE_S - 1).states
    assert harness.wait(2).statuses == ["lost"]


def test_what_changed_after_a_clock_was_set_back_is_published_after_a_crash(
    harness: ControlPlaneHarness,
) -> None:
    harness.wait(10)
    harness.now -= HOUR
    harness.wait(10)
    harness.submit("o")
    states = harness.restart().states
    assert [state.run_id for state in states] == ["o-1"]


def test_a_worker_whose_clock_was_ahead_once_is_shown_and_its_will_counts(
    harness: ControlPlaneHarness,
) -> None:
    ahead = FakeWorker(harness, incarnation="9999-first")
    ahead.birth()
    ahead.will()
    right = FakeWorker(harness, incarnation="1111-second")
    assert right.birth().kinds == []
    assert harness.call("summary")["workers"] == 1
    harness.submit()
    (run,) = right.claim()
    right.request_start(run.lease)
    right.will()
    assert harness.wait(Settings().disconnect_grace_s + 1).statuses == ["lost"]


def test_a_clock_is_monotonic_between_synchronisations_with_what_it_follows() -> None:
    store_us, monotonic_ns = [5_000_000], [1_000]
    clock = PlaneClock(lambda: store_us[0], lambda: monotonic_ns[0])
    assert clock.now_us() == 5_000_000
    store_us[0] = 1
    monotonic_ns[0] += 2_000
    assert clock.now_us() == 5_000_002, "it follows nothing meanwhile"
    assert clock.synchronise() == clock.now_us() == 1
    monotonic_ns[0] += 3_000
    assert clock.now_us() == 4


def test_a_store_has_a_time(harness: ControlPlaneHarness) -> None:
    first, second = harness.processor.store_time_us(), harness.store.now_us()
    assert 1_600_000_000 * SECOND < first <= second
