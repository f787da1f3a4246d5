"""Reports of events: order, repetition, late and forged ones. On both databases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, event, submission
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.worker_protocol import Ack, Acks, Attempt, Command, Lease, Response

LEASE_S = Settings().lease_s


def attempt(run_id: str, number: int = 1) -> Attempt:
    return Attempt(run_id=run_id, attempt=number)


# --- order and repetition -------------------------------------------------------------------------


def test_a_run_goes_from_pending_over_running_to_its_end(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    assert harness.status() == "pending"
    assert worker.report(lease, event("o-1", 0, "run:start")).statuses == ["running"]
    assert harness.run()["started"] < harness.now
    published = worker.report(
        lease, event("o-1", 1), event("o-1", 2, "run:complete", reason="fail")
    )
    assert (published.statuses, published.ended) == (["failed"], {"failed": 1})
    assert published.acks == [Ack(run_id="o-1", attempt=1, upto=2)]
    assert [order["status"] for order in harness.call("orders")] == ["failed"]


def test_the_error_of_a_run_is_stored_within_limits(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    end = event("o-1", 1, "run:complete", reason="fail")
    worker.report(lease, {**end, "error_type": "E\0" * 200, "error_message": "\0é" * 20_000})
    run = harness.run()
    assert run["error_type"].startswith("E\ufffdE") and len(run["error_type"]) == 200
    assert run["error_message"].startswith("\ufffdé") and len(run["error_message"]) == 10_000


def test_the_same_report_twice_is_acknowledged_twice_and_kept_once(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.claimed()
    events = [event("o-1", 0, "run:start"), event("o-1", 1, message="hello")]
    first = worker.report(lease, *events)
    before = harness.dump()
    again = worker.report(lease, *events)
    assert again.acks == first.acks == [Ack(run_id="o-1", attempt=1, upto=1)]
    assert len(first.events) == 1 and not again.events and not again.states
    assert harness.dump() == before


def test_the_last_report_twice_is_acknowledged_twice(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.ended()
    before = harness.dump()
    for _ in range(2):
        assert worker.finish(lease, 1) == Ack(run_id="o-1", attempt=1, upto=1)
    assert harness.dump() == before


def test_a_gap_is_not_taken(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    assert worker.acked(lease, event("o-1", 2), event("o-1", 3)).upto == 0
    assert worker.acked(lease, event("o-1", 1), event("o-1", 3)).upto == 1
    assert worker.acked(lease, event("o-1", 1), event("o-1", 2), event("o-1", 3)).upto == 3


def test_a_run_does_not_start_with_a_gap(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    assert worker.finish(lease, 1).upto == -1
    assert harness.status() == "pending"


def test_what_comes_after_the_completion_is_not_taken(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    ack = worker.acked(lease, event("o-1", 1, "run:complete"), event("o-1", 2))
    assert ack.upto == 1


def test_a_run_that_could_not_start_ends_with_its_first_event(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    published = worker.report(lease, event("o-1", 0, "run:complete", reason="exception"))
    assert published.statuses == ["exception"]
    assert [alert.status for alert in published.alerts] == ["exception"]


def test_events_are_published_without_their_dataclips(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    published = worker.report(
        lease,
        event("o-1", 1, "step:start"),
        event("o-1", 2, "step:complete", output_dataclip={"secret": 1}, output_dataclip_id="c1"),
        event("o-1", 3, "run:complete", final_state={"secret": 1}, final_dataclip_id="c1"),
    )
    (told,) = published.events
    assert (told.run_id, told.attempt, len(told.events)) == ("o-1", 1, 3)
    assert b"secret" not in wire.encode(told)
    shown = harness.call("events", run_id="o", clips=True)["events"]
    assert [event["seq"] for event in shown] == [0, 1, 2, 3]
    assert shown[2]["output_dataclip"] == shown[3]["final_state"] == {"secret": 1}
    assert b"secret" not in wire.encode(harness.call("events", run_id="o", after=1))


def test_a_run_shows_its_steps(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    worker.report(lease, event("o-1", 1, "step:start"), event("o-1", 2, "step:complete"))
    (step,) = harness.run()["steps"]
    assert (step["job_id"], step["reason"], step["execution"]) == ("a", "success", 0)


def test_reports_of_several_runs_come_in_one_message(harness: ControlPlaneHarness) -> None:
    harness.submit("o1")
    harness.submit("o2")
    worker = FakeWorker(harness)
    leases = [run.lease for run in worker.claim(2)]
    events = [
        {"lease": one, "events": [event(one.run_id, 0, "run:complete")]}
        for one in (*leases, leases[0])
    ]
    published = worker.send("reports", number=7, runs=events)
    assert [(ack.run_id, ack.upto) for ack in published.acks] == [
        ("o1-1", 0),
        ("o2-1", 0),
        ("o1-1", 0),
    ]
    assert published.ended == {"success": 2}


# --- stale and forged reports ---------------------------------------------------------------------


def test_a_late_report_is_kept_as_stale_and_refused(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    harness.wait(LEASE_S)
    assert harness.status() == "lost"
    published = worker.report(lease, event("o-1", 1, "run:complete"))
    assert published.kinds == ["stale"] and not published.states
    (ack,) = published.acks
    assert (ack.upto, ack.refused) == (1, "stale: the run is lost")
    run = harness.run()
    assert (run["status"], run["stale_reports"]) == ("lost", 1)


def test_a_report_of_an_attempt_before_is_stale(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.claimed()
    harness.wait(LEASE_S + 1)
    (again,) = FakeWorker(harness, "south").claim()
    published = worker.report(lease, event("o-1", 0, "run:start"))
    assert published.kinds == ["stale"] and published.acks[0].refused
    assert (again.lease.attempt, harness.status()) == (2, "pending")
    assert again.lease.token != lease.token
    assert harness.run()["stale_reports"] == 1


def test_a_stale_report_twice_is_kept_once(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    harness.wait(LEASE_S)
    worker.finish(lease)
    before = harness.dump()
    assert worker.finish(lease).refused
    assert harness.dump() == before


@pytest.mark.parametrize("phase", ["claimed", "started", "ended"])
def test_a_forged_lease_is_refused_and_changes_nothing(
    harness: ControlPlaneHarness, phase: str
) -> None:
    worker, lease = getattr(harness, phase)()
    before = harness.dump()
    _forge(harness, FakeWorker(harness, "south"), lease)
    for changed in ({"token": "token-forged"}, {"attempt": 2}):
        _forge(harness, worker, Lease(**{**_fields(lease), **changed}))
    _forge(harness, worker, Lease(**{**_fields(lease), "run_id": "other"}), "unknown")
    assert harness.dump() == before


def _forge(
    harness: ControlPlaneHarness, worker: FakeWorker, false: Lease, kind: str = "forged"
) -> None:
    """Send every message that a worker can send with a lease that is not its own."""
    for seq in (0, 1, 5):
        published = worker.report(false, event(false.run_id, seq, "run:complete", reason="crash"))
        assert published.kinds == [kind]
        assert [(ack.upto, bool(ack.refused)) for ack in published.acks] == [(-1, True)]
        assert not published.states and not published.events
    assert worker.release(false).kinds == [kind]
    beaten = worker.heartbeat(false)
    assert beaten.kinds == [kind]
    assert beaten.commands == [Command(abandon=[attempt(false.run_id, false.attempt)])]


def _fields(lease: Lease) -> dict[str, Any]:
    return {name: getattr(lease, name) for name in lease.__struct_fields__}


def test_an_event_of_another_run_is_forged_and_nothing_of_its_report_is_kept(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.started()
    before = harness.dump()
    published = worker.report(lease, event("o-1", 1), event("other", 2))
    assert published.kinds == ["forged"] and [one.upto for one in published.acks] == [0]
    assert harness.dump() == before


def broken_events() -> list[dict[str, object]]:
    return [
        event("o-1", 1, "run:complete", reason=None),
        event("o-1", 1, "run:complete", reason="lost"),
        event("o-1", 1, "run:end"),
        event("o-1", -1),
        event("o-1", 1, "step:start", input_dataclip_id=None),
        event("o-1", 1, "step:complete", job_id=None),
        event("o-1", 1, "step:complete", output_dataclip_id="\0", output_dataclip={}),
    ]


def test_a_field_that_only_a_newer_worker_knows_is_left_out(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    published = worker.report(lease, event("o-1", 1, invented_later={"a": 1}))
    assert (published.acks[0].upto, published.refusals) == (1, [])
    (stored,) = harness.call("events", run_id="o-1", after=0)["events"]
    assert stored["message"] == "m" and "invented_later" not in stored
    assert b"invented_later" not in b"".join(bytes(raw) for raw in published.events[0].events)


def test_a_malformed_event_is_refused_with_all_of_its_report(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    before = harness.dump()
    for broken in broken_events():
        published = worker.report(lease, event("o-1", 1), broken)
        assert published.kinds == ["malformed"], broken
        (ack,) = published.acks
        assert (ack.upto, ack.refused[:10], ack.set_aside) == (0, "malformed:", True)
    assert harness.dump() == before
    assert harness.status() == "running"


def test_a_malformed_message_stops_no_other_of_its_batch(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    bad = [worker.reports(lease, broken) for broken in broken_events()]
    published = harness.send(*bad, submission("o2"))
    assert published.kinds == ["malformed"] * len(bad)
    assert published.statuses == ["pending"]


def test_a_message_of_reports_that_cannot_be_read_has_a_response_with_its_number(
    harness: ControlPlaneHarness,
) -> None:
    """A worker without a response would send it again for ever."""
    worker, lease = harness.started()
    deep = b'{"number":7,"runs":[' + b"[" * 1000 + b"]" * 1000 + b"]}"
    topic = worker.reports(lease, event("o-1", 1)).topic
    outgoing = harness.processor.process([Message(topic=topic, payload=deep)], harness.now)
    assert [refusal.kind for refusal in outgoing.refusals] == ["malformed"]
    (response,) = outgoing.messages
    assert wire.decode(Response, response.payload) == Acks(  # type: ignore[arg-type]
        number=7, acks=[], refused="malformed: nested too deeply"
    )
    assert harness.status() == "running"
