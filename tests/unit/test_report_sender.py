"""The sender of reports, which empties the outbox of a worker."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.outboxes import acks, event, files, filled, lease, sender_of, sent
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.content import MIN_MESSAGE_BYTES, ContentUpload
from worker.fleet.messaging.worker_protocol import Ack, Acks
from worker.fleet.worker import report_sender
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.report_sender import LEASE_BYTES, RETRANSMIT_S


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path / "outbox")
    yield opened
    opened.close()


def test_one_message_is_in_flight_and_the_next_holds_what_came_meanwhile(outbox: Outbox) -> None:
    run = outbox.open(lease())
    sender = sender_of(run)
    assert sender.next(0.0) is None, "there is nothing to send"
    run.add(event(0), last=False)
    assert sent(sender.next(0.0)) == [("r", [event(0)])]
    run.add(event(1), last=False)
    run.add(event(2), last=True)
    assert sender.next(0.1) is None
    assert sender.acknowledge(acks(1, 0)) == []
    second = sender.next(0.2)
    assert second is not None and second.number == 2
    assert sent(second) == [("r", [event(1), event(2)])]
    assert sender.acknowledge(acks(2, 2)) == []
    assert sender.empty, "the run is complete and acknowledged"


def test_a_run_whose_events_are_acknowledged_stays_until_it_is_complete(outbox: Outbox) -> None:
    run = outbox.open(lease())
    run.add(event(0), last=False)
    sender = sender_of(run)
    sender.next(0.0)
    sender.acknowledge(acks(1, 0))
    assert not sender.empty and run.empty
    sender.close()


def test_a_response_is_overdue_after_the_retransmission_time_and_not_before(
    outbox: Outbox,
) -> None:
    sender = sender_of(filled(outbox, event(0)))
    began = 1000.0
    assert not sender.overdue(began), "nothing is in flight"
    sender.next(began)
    assert not sender.overdue(began)
    assert not sender.overdue(began + RETRANSMIT_S)
    assert sender.overdue(began + RETRANSMIT_S + 0.001)
    sender.rewind()
    assert not sender.overdue(began + 10 * RETRANSMIT_S), "nothing is in flight any more"
    sender.close()


def test_a_retransmission_has_a_new_number_and_all_unacknowledged_events(outbox: Outbox) -> None:
    run = filled(outbox, event(0), event(1))
    sender = sender_of(run)
    first = sender.next(0.0)
    sender.rewind()
    second = sender.next(3.0)
    assert first is not None and second is not None
    assert (first.number, second.number) == (1, 2)
    assert sent(second) == sent(first) == [("r", [event(0), event(1)])]
    assert sender.acknowledge(acks(1, 1)) == [], "the response to the first comes too late"
    assert sender.overdue(10.0), "the second is still in flight"
    assert not run.empty
    sender.acknowledge(acks(2, 1))
    assert sender.empty


def test_a_partial_acknowledgement_repeats_the_rest_after_a_rewind(outbox: Outbox) -> None:
    sender = sender_of(filled(outbox, event(0), event(1), event(2)))
    sender.next(0.0)
    sender.acknowledge(acks(1, 0))
    assert sender.next(0.1) is None, "the others count as sent"
    sender.rewind()
    assert sent(sender.next(0.2)) == [("r", [event(1), event(2)])]
    sender.close()


def test_a_refused_attempt_is_dropped_and_returned(outbox: Outbox, tmp_path: Path) -> None:
    sender = sender_of(filled(outbox, event(0)), filled(outbox, event(0), event(1), run_id="other"))
    sender.next(0.0)
    refused = sender.acknowledge(acks(1, 0, refused="stale: the run is lost"))
    assert [(refusal.key, refusal.set_aside) for refusal in refused] == [(("r", 1), False)]
    assert files(tmp_path / "outbox") == ["other.1.jsonl"]
    assert not sender.empty
    sender.rewind()
    assert sent(sender.next(1.0)) == [("other", [event(0), event(1)])]
    sender.close()


def test_acknowledgements_of_unknown_attempts_are_ignored(outbox: Outbox) -> None:
    run = filled(outbox, event(0))
    sender = sender_of(run)
    sender.next(0.0)
    assert sender.acknowledge(acks(1, 0, run_id="unknown", refused="no")) == []
    assert not run.empty
    sender.close()


def test_a_run_that_a_response_leaves_out_is_sent_again(outbox: Outbox) -> None:
    sender = sender_of(filled(outbox, event(0)), filled(outbox, event(0), run_id="other"))
    sender.next(0.0)
    assert sender.acknowledge(acks(1, 0, run_id="other")) == []
    assert sent(sender.next(0.1)) == [("r", [event(0)])]
    assert sender.acknowledge(acks(2, 0, run_id="other")) == []
    assert sender.next(0.2) is None, "a control plane that never acknowledges is not flooded"
    assert sent(sender.next(0.1 + RETRANSMIT_S)) == [("r", [event(0)])]
    sender.acknowledge(acks(3, 0))
    assert sender.empty
    sender.close()


def test_events_after_a_gap_are_set_aside(outbox: Outbox) -> None:
    # A file that was edited, or a control plane whose database was restored.
    sender = sender_of(filled(outbox, event(3), event(4)))
    run = sender._outboxes["r", 1]
    run._first = run._sent = 3
    sender.next(0.0)
    (refusal,) = sender.acknowledge(acks(1, 1))
    assert (refusal.set_aside, refusal.seq, refusal.reason) == (True, 2, "event 2 is missing")
    assert not sender.empty, "the end that takes their place is sent"
    sender.close()


def test_an_acknowledgement_of_nothing_new_is_no_gap(outbox: Outbox) -> None:
    sender = sender_of(filled(outbox, event(0), event(1)))
    sender.next(0.0)
    assert sender.acknowledge(acks(1, -1)) == []
    sender.rewind()
    sender.next(0.1)
    assert sender.acknowledge(acks(2, 0)) == []
    sender.rewind()
    sender.next(0.2)
    assert sender.acknowledge(acks(3, 0)) == []
    sender.rewind()
    assert sent(sender.next(0.3)) == [("r", [event(1)])]
    sender.close()


def test_a_message_is_filled_up_to_its_limit(outbox: Outbox) -> None:
    one, two, three = (filled(outbox, event(0, 300), run_id=id) for id in ("a", "b", "c"))
    sender = sender_of(one, two, three)
    sender.max_bytes = 2 * (len(event(0, 300)) + LEASE_BYTES)
    assert [id for id, _ in sent(sender.next(0.0))] == ["a", "b"]
    answers = [Ack(run_id=id, attempt=1, upto=-1) for id in ("a", "b")]
    sender.acknowledge(Acks(number=1, acks=answers))
    assert [id for id, _ in sent(sender.next(0.1))] == ["c"]
    sender.close()


def test_the_lease_of_an_ended_run_is_renewed_until_its_end_is_acknowledged(
    outbox: Outbox,
) -> None:
    run = outbox.open(lease())
    run.add(event(0), last=False)
    sender = sender_of(run)
    assert sender.unreported == [], "it is still executed"
    run.add(event(1), last=True)
    assert sender.unreported == [run.lease]
    sender.next(0.0)
    sender.acknowledge(acks(1, 1))
    assert sender.unreported == []
    sender.close()


def test_a_large_event_goes_in_chunks_and_delays_no_other_run(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads: list[bytes] = []

    class CountedUpload(ContentUpload):
        def __init__(self, content: bytes) -> None:
            super().__init__(content)
            uploads.append(content)

    monkeypatch.setattr(report_sender, "ContentUpload", CountedUpload)
    large, small = filled(outbox, event(0, 900), run_id="a"), filled(outbox, event(0), run_id="b")
    sender = sender_of(large, small)
    sender.max_bytes = 500
    reports = sender.next(0.0)
    assert reports is not None and [run.lease.run_id for run in reports.runs] == ["b"]
    (chunk,) = sender.chunks(0.0, MIN_MESSAGE_BYTES)
    sender.acknowledge(Acks(number=1, acks=[Ack(run_id="b", attempt=1, upto=0)]))
    assert sender.next(0.1) is None
    sender.chunk_stored(wire.ChunkStored(hash=chunk.content.hash, offset=0))
    reports = sender.next(0.2)
    assert reports is not None and reports.runs[0].content == chunk.content
    sender.send_again(wire.MissingContent(hashes=[chunk.content.hash]))
    assert sender.chunks(0.3, MIN_MESSAGE_BYTES) == [chunk]
    assert len(uploads) == 1  # each computes a hash of the whole event
    refused = wire.ChunkStored(hash=chunk.content.hash, offset=0, refused="too large")
    assert [refusal.set_aside for refusal in sender.chunk_stored(refused)] == [True]
    sender.close()


@pytest.mark.parametrize(("more_bytes", "in_chunks"), [(0, False), (1, True)])
def test_an_event_goes_in_chunks_if_it_does_not_fit_a_message_with_its_lease(
    outbox: Outbox, more_bytes: int, in_chunks: bool
) -> None:
    sender = sender_of(filled(outbox, event(0, 900 + more_bytes)))
    sender.max_bytes = len(event(0, 900)) + LEASE_BYTES
    assert (sender.next(0.0) is None) is in_chunks
    assert bool(sender.chunks(0.0, MIN_MESSAGE_BYTES)) is in_chunks
    sender.close()


def test_each_large_event_of_a_run_is_sent_and_none_of_a_run_that_is_dropped(
    outbox: Outbox,
) -> None:
    events = event(0, 900), event(1, 900)
    sender = sender_of(filled(outbox, *events))
    sender.max_bytes = 500
    for number in (0, 1):
        assert sender.next(0.0) is None, "its chunks come first"
        (chunk,) = sender.chunks(0.0, MIN_MESSAGE_BYTES)
        assert chunk.data == events[number]
        if number == 1:
            break
        sender.chunk_stored(wire.ChunkStored(hash=chunk.content.hash, offset=0))
        reports = sender.next(0.0)
        assert reports is not None and reports.runs[0].content == chunk.content
        sender.acknowledge(acks(1, 0))
    sender.drop_run("r")
    assert sender.empty and sender.chunks(100.0, MIN_MESSAGE_BYTES) == []


def test_all_that_is_not_acknowledged_is_sent_again_after_a_restart(outbox: Outbox) -> None:
    sender = sender_of(filled(outbox, event(0)), filled(outbox, event(0), run_id="other"))
    sender.next(0.0)
    sender.give_up()
    sender.next(0.1)
    sender.restart()
    assert [run for run, _ in sent(sender.next(0.2))] == ["r", "other"], "none is a suspect"
    sender.close()


def test_a_run_that_is_dropped_while_it_is_in_flight_is_no_suspect(outbox: Outbox) -> None:
    runs = (filled(outbox, event(0), run_id=id) for id in "abc")
    sender = sender_of(*runs)
    sender.next(0.0)
    sender.drop_run("a")
    sender.give_up()
    sender.drop_run("b")
    assert sent(sender.next(0.1)) == [("c", [event(0)])]
    sender.acknowledge(acks(2, 0, run_id="c"))
    assert sender.empty


def test_a_suspect_is_sent_again_after_pauses_that_double_up_to_a_bound(outbox: Outbox) -> None:
    sender = sender_of(filled(outbox, event(0)))
    sender.next(0.0)
    times = list[float]()
    for second in range(1, 100):
        sender.give_up()
        if sender.next(float(second)) is not None:
            times.append(second)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[:3] == [2, 4, 8] and set(pauses[3:]) == {16}
    sender.close()


def test_what_waits_for_an_acknowledgement_is_counted_with_its_time(outbox: Outbox) -> None:
    sender = sender_of(filled(outbox, event(0), event(1)))
    assert sender.unacknowledged(100.0) == (2, 0.0), "nothing is in flight"
    sender.next(100.0)
    assert sender.unacknowledged(100.0) == (2, 0.0)
    assert sender.unacknowledged(102.5) == (2, 2.5)
    sender.acknowledge(acks(1, 1))
    assert sender.unacknowledged(105.0) == (0, 0.0)


def test_a_sender_that_closes_leaves_the_events_on_disk(outbox: Outbox, tmp_path: Path) -> None:
    sender = sender_of(filled(outbox, event(0)))
    sender.close()
    assert files(tmp_path / "outbox") == ["r.1.jsonl"]


# --- reports that are refused for good ------------------------------------------------------------


def test_a_refused_content_is_returned_with_the_number_of_the_end_to_report(
    outbox: Outbox,
) -> None:
    run = filled(outbox, event(0), event(1))
    sender = sender_of(run)
    sender.next(0.0)
    ack = Ack(run_id="r", attempt=1, upto=0, refused="malformed: x", set_aside=True)
    (refusal,) = sender.acknowledge(Acks(number=1, acks=[ack]))
    assert (refusal.set_aside, refusal.reason, refusal.seq) == (True, "malformed: x", 1)
    run.replace(event(1), 1, refusal.reason)
    assert sent(sender.next(1.0)) == [("r", [event(1)])]
    (again,) = sender.acknowledge(Acks(number=2, acks=[ack]))
    assert not again.set_aside and sender.empty, "nothing is set aside twice"


@pytest.mark.parametrize("upto", [1, 4])
def test_the_end_of_a_run_is_numbered_anew_where_more_had_arrived(
    outbox: Outbox, upto: int
) -> None:
    run = filled(outbox, event(0))
    sender = sender_of(run)
    run.replace(event(0), 0, "unreadable")
    sender.next(0.0)
    (refusal,) = sender.acknowledge(acks(1, upto))
    assert (refusal.seq, refusal.set_aside, refusal.reason) == (upto + 1, True, "unreadable")
    run.replace(event(upto + 1), upto + 1, refusal.reason)
    assert sent(sender.next(1.0)) == [("r", [event(upto + 1)])]
    assert sender.acknowledge(acks(2, upto + 1)) == [] and sender.empty


def test_of_a_message_that_is_refused_whole_the_run_to_blame_is_set_aside(outbox: Outbox) -> None:
    sender = sender_of(*(filled(outbox, event(0), run_id=id) for id in "abc"))
    sender.next(0.0)
    refused = Acks(number=1, acks=[], refused="malformed: nested too deeply")
    assert sender.acknowledge(refused) == []
    for number, id in enumerate("abc", 2):
        assert [run for run, _ in sent(sender.next(0.1))] == [id], "each is sent alone"
        if id == "b":
            (refusal,) = sender.acknowledge(Acks(number=number, acks=[], refused="malformed"))
            assert refusal.key == ("b", 1) and refusal.set_aside
        else:
            assert sender.acknowledge(acks(number, 0, run_id=id)) == []
    sender.close()


def test_a_run_without_a_response_delays_no_other_for_ever(outbox: Outbox) -> None:
    """A control plane that fails over one run's events gives no response at all."""
    bad = filled(outbox, event(0), run_id="bad")
    sender = sender_of(bad, *(filled(outbox, event(0), run_id=f"r{n}") for n in range(3)))
    now, delivered = 0.0, set[str]()
    for _ in range(40):
        message = sender.next(now)
        if message is not None:
            ids = [run.lease.run_id for run in message.runs]
            if "bad" not in ids:
                delivered.update(ids)
                answers = [Ack(run_id=id, attempt=1, upto=0) for id in ids]
                assert sender.acknowledge(Acks(number=message.number, acks=answers)) == []
        now += 0.5
        if sender.overdue(now):
            sender.give_up()
    assert delivered == {"r0", "r1", "r2"}
    assert not bad.empty
    sender.close()
