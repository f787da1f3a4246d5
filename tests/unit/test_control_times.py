"""Times of runs: those of their events, whatever the worker's clock. On both databases."""

from __future__ import annotations

import pytest

from tests.support.control_plane_harness import (
    BEGAN,
    SECOND,
    ControlPlaneHarness,
    FakeWorker,
    event,
)
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.worker_protocol import Lease


def run_events(run_id: str, start: int, end: int) -> list[dict[str, object]]:
    return [
        event(run_id, 0, "run:start", timestamp=start),
        event(run_id, 1, "run:complete", timestamp=end),
    ]


def test_a_run_has_the_times_of_its_events_and_not_of_their_arrival(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.claimed()
    worker.request_start(lease)
    start, end = harness.now + 1_234, harness.now + 39_567
    harness.pass_time(1)
    published = worker.report(lease, *run_events("o-1", start, end))
    run = harness.run()
    assert (run["started"], run["finished"], run["skew"]) == (start, end, None)
    (state,) = published.states
    assert (state.finished or 0) - (state.started or 0) == 38_333


@pytest.mark.parametrize("ahead_s", [-86_400, -2, 2, 86_400])
def test_a_clock_that_is_off_is_noted_and_leaves_the_duration_right(
    harness: ControlPlaneHarness, ahead_s: int
) -> None:
    worker, lease = harness.claimed()
    worker.request_start(lease)
    began = harness.run()["started"] + ahead_s * SECOND
    worker.report(lease, *run_events("o-1", began, began + 38))
    run = harness.run()
    assert (run["skew"], run["finished"] - run["started"]) == (ahead_s * SECOND, 38)


def test_a_worker_in_the_past_hides_no_change_and_loses_no_order_to_retention(
    harness: ControlPlaneHarness,
) -> None:
    harness.wait(10)
    worker, lease = harness.claimed()
    worker.report(lease, *run_events("o-1", BEGAN - 10**12, BEGAN - 10**12 + 5))
    states = harness.restart(settings=Settings(retain_s=3600)).states
    assert [(state.run_id, state.status) for state in states] == [("o-1", "success")]
    harness.wait(120)
    assert harness.status() == "success"


def test_a_run_that_its_worker_cuts_short_is_lost_at_once_with_that_reason(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("a")
    harness.submit("b")
    worker = FakeWorker(harness)
    first, second = (run.lease for run in worker.claim(2))
    worker.request_start(first)
    published = worker.send(
        "release", incarnation="i1", leases=[second], aborted=[first], reason="its drain was over"
    )
    assert published.statuses == ["lost"]
    (alert,) = published.alerts
    assert alert.error_message == (
        "worker 'north' was stopped before the run had ended: its drain was over"
    )
    assert alert.at == harness.now
    assert harness.status("b") == "pending"


def test_a_claimed_run_cannot_be_cut_short(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    forged = Lease(run_id=lease.run_id, attempt=1, token="token-999999")
    for aborted in (lease, forged):
        assert not worker.send("release", incarnation="i1", leases=[], aborted=[aborted]).states
    assert harness.status() == "pending"
