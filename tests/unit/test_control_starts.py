"""Starts of runs: what a worker may execute, and what happens to what it may have executed."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.control_plane_harness import (
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    event,
    request,
)
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.worker_protocol import MAX_LEASES, Attempt, Lease, Starts

LEASE_S = Settings().lease_s


def attempt(run_id: str = "o-1", number: int = 1) -> Attempt:
    return Attempt(run_id=run_id, attempt=number)


STARTED = [Starts(started=[attempt()])]
REFUSED = [Starts(refused=[attempt()])]


def test_a_start_is_confirmed_and_the_run_is_running(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    published = worker.request_start(lease)
    assert published.starts == STARTED and published.statuses == ["running"]
    assert worker.start(lease).upto == 0


def test_a_repeated_request_gets_the_same_response_and_changes_nothing(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.claimed()
    worker.request_start(lease)
    harness.restart()
    before = harness.dump()
    published = worker.request_start(lease)
    assert published.starts == STARTED and not published.states
    worker.start(lease)
    assert worker.request_start(lease).starts == STARTED
    worker.finish(lease)
    assert worker.request_start(lease).starts == REFUSED
    assert harness.dump() != before


def test_a_confirmed_start_without_a_word_after_it_is_lost_for_good(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.claimed()
    worker.request_start(lease)
    published = harness.wait(LEASE_S + 1)
    assert published.statuses == ["lost"]
    assert [alert.error_type for alert in published.alerts] == ["LostAfterStart"]
    assert worker.claim() == [] and worker.request_start(lease).starts == REFUSED


def test_a_claim_whose_request_never_arrived_is_pending_and_refused_to_its_first_worker(
    harness: ControlPlaneHarness,
) -> None:
    first, lease = harness.claimed()
    harness.wait(LEASE_S + 1)
    second = FakeWorker(harness, "south")
    (again,) = second.claim()
    assert first.request_start(lease).starts == REFUSED
    assert second.request_start(again.lease).starts == [Starts(started=[attempt("o-1", 2)])]


def test_a_start_that_is_late_but_before_anybody_noticed_renews_the_lease(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.claimed()
    harness.pass_time(LEASE_S + 1)
    assert worker.request_start(lease).starts == STARTED
    assert not harness.tick().states


def test_a_run_that_is_to_be_cancelled_does_not_start(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    harness.call("cancel", id="o")
    published = worker.request_start(lease)
    assert published.starts == REFUSED and published.statuses == ["cancelled"]


@pytest.mark.parametrize("field", ["token", "attempt", "run_id"])
def test_the_lease_of_another_starts_nothing(harness: ControlPlaneHarness, field: str) -> None:
    worker, lease = harness.claimed()
    wrong = {"token": "token-999999", "attempt": 2, "run_id": "o-2"}[field]
    forged = wire.decode(Lease, wire.encode({**_fields(lease), field: wrong}))
    assert worker.request_start(forged).starts[0].started == []
    assert FakeWorker(harness, "south").request_start(lease).starts == REFUSED
    assert harness.status() == "pending"


def _fields(lease: Lease) -> dict[str, object]:
    return {name: getattr(lease, name) for name in lease.__struct_fields__}


def test_runs_that_are_handed_back_are_not_lost_for_having_been_claimed_often(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit()
    worker = FakeWorker(harness)
    for _ in range(10):
        (run,) = worker.claim()
        assert run.lease.attempt == 1
        worker.release(run.lease)
    worker.claim()
    harness.wait(LEASE_S + 1)
    assert harness.status() == "pending"
    assert harness.run()["attempt"] == 2


def test_a_run_that_reports_without_a_request_has_started_all_the_same(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.claimed()
    worker.report(lease, event("o-1", 0, "run:start"))
    assert harness.status() == "running"
    assert worker.request_start(lease).starts == STARTED


# --- requests of one batch ------------------------------------------------------------------------


def test_requests_of_one_batch_have_one_response_for_each_worker(
    harness: ControlPlaneHarness,
) -> None:
    north, south = FakeWorker(harness), FakeWorker(harness, "south")
    for name in ("o", "p", "q"):
        harness.submit(name)
    leases = [run.lease for run in north.claim(2)]
    [other] = [run.lease for run in south.claim(1)]
    gone = msgspec.structs.replace(leases[0], attempt=7)
    published = harness.send(
        *(north.start_request(lease) for lease in (leases[0], gone)),
        south.start_request(other),
        north.start_request(leases[1]),
    )
    assert published.starts == [
        Starts(
            started=[attempt(lease.run_id) for lease in leases],
            refused=[attempt(gone.run_id, 7)],
        ),
        Starts(started=[attempt(other.run_id)]),
    ]


def test_a_start_is_confirmed_before_the_run_is_cancelled_in_the_same_batch(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.claimed()
    messages = [worker.start_request(lease), request("cancel", id=lease.run_id)]
    outgoing = harness.processor.process(messages, harness.now)
    topics = [message.topic for message in outgoing.messages]
    # A command for a run that it does not know yet has no effect, until the next heartbeat.
    assert topics.index(TOPICS.worker(worker.name, "rsp")) < topics.index(
        TOPICS.worker(worker.name, "cmd")
    )


def test_a_response_has_no_more_leases_than_a_request(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    gone = [msgspec.structs.replace(lease, attempt=number) for number in range(2, MAX_LEASES + 1)]
    requests = [worker.start_request(*gone), worker.start_request(lease, lease)]
    sizes = [len(each.started) + len(each.refused) for each in harness.send(*requests).starts]
    assert sorted(sizes) == [2, MAX_LEASES - 1]
