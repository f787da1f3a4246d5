"""Sending of reports: one message in flight, which holds all events that have come meanwhile.

Without load an event leaves at once. Under load the acknowledgements set the pace and messages grow
(backpressure). Events that are not acknowledged in time, or were sent over a connection that broke,
are retransmitted.

A message without a response in time, or that cannot be read, may have one run to blame for it. Its
runs are suspects: each is sent alone, and less and less often, until its message has a response.
All other runs go on meanwhile.

An event that is too large for a message is sent in chunks first. Only its own run waits for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.content import MAX_MESSAGE_BYTES, ContentUpload
from worker.fleet.messaging.worker_protocol import Acks, Lease, Reports, RunReport
from worker.fleet.worker.outbox import RunOutbox

LEASE_BYTES = 256
"""The size of a run's entry in a message, without its events."""
RETRANSMIT_S = 2.0
MAX_SUSPECT_PAUSE_S = 16.0

AttemptKey = tuple[str, int]
"""A run's id and the number of the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A run whose events are accepted no more.

    With ``set_aside`` the reason is their content, and an event ``seq`` takes their place.
    """

    outbox: RunOutbox
    reason: str
    set_aside: bool
    seq: int

    @property
    def key(self) -> AttemptKey:
        return self.outbox.lease.run_id, self.outbox.lease.attempt


class ReportSender:
    """The outboxes of all runs, and the state of the message in flight."""

    def __init__(self) -> None:
        self._outboxes: dict[AttemptKey, RunOutbox] = {}
        self._number = 0
        self._sent_at: float | None = None
        self._in_flight: list[AttemptKey] = []
        # When a suspect is sent again at the earliest, and the pause after that.
        self._suspects: dict[AttemptKey, tuple[float, float]] = {}
        # The events that are sent in chunks, by run.
        self._uploads: dict[AttemptKey, ContentUpload] = {}
        self.max_bytes = MAX_MESSAGE_BYTES

    def add(self, outbox: RunOutbox) -> None:
        self._outboxes[outbox.lease.run_id, outbox.lease.attempt] = outbox

    @property
    def unreported(self) -> list[Lease]:
        """The leases of runs that have ended here, and whose end is not acknowledged yet."""
        # Not those of an earlier process that died: their runs are lost.
        return [box.lease for box in self._outboxes.values() if box.complete]

    @property
    def empty(self) -> bool:
        return not self._outboxes

    def next(self, now: float) -> Reports | None:
        """Return the next message; ``None`` without events, or while one is in flight.

        ``now`` is in seconds, by any monotonic clock.
        """
        # One message in flight was measured to be faster than several.
        if self._sent_at is not None:
            return None
        runs, room = list[RunReport](), self.max_bytes
        for outbox in self._due(now):
            if outbox.has_unsent and (report := self._report(outbox, room)) is not None:
                room -= sum(len(bytes(event)) for event in report.events) + LEASE_BYTES
                runs.append(report)
        if not runs:
            return None
        self._number += 1
        self._sent_at = now
        self._in_flight = [(run.lease.run_id, run.lease.attempt) for run in runs]
        return Reports(number=self._number, runs=runs)

    def _report(self, outbox: RunOutbox, room: int) -> RunReport | None:
        """Return the next events of a run that fit; ``None`` if there are none, or in chunks."""
        if (event := outbox.next_if_over(self.max_bytes - LEASE_BYTES)) is not None:
            return self._report_in_chunks(outbox, event)
        raw = [msgspec.Raw(event) for event in outbox.take(room - LEASE_BYTES)]
        return RunReport(lease=outbox.lease, events=raw) if raw else None

    def _report_in_chunks(self, outbox: RunOutbox, event: bytes) -> RunReport | None:
        key = outbox.lease.run_id, outbox.lease.attempt
        # Made once: it hashes the event, which can have megabytes.
        if (upload := self._uploads.get(key)) is None:
            upload = self._uploads[key] = ContentUpload(event)
        if not upload.complete:
            return None
        outbox.take(len(event))
        return RunReport(lease=outbox.lease, content=upload.ref)

    def chunks(self, now: float, max_message_bytes: int) -> list[wire.Chunk]:
        """Return the chunks of large events to send now."""
        return [
            chunk
            for upload in self._uploads.values()
            for chunk in upload.due(now, max_message_bytes)
        ]

    def chunk_stored(self, stored: wire.ChunkStored) -> list[Refusal]:
        """Handle the response to a chunk. Return the attempts whose event is refused."""
        refused = []
        for key, upload in list(self._uploads.items()):
            if upload.ref.hash == stored.hash and stored.refused:
                del self._uploads[key]
                outbox = self._outboxes[key]
                refused.append(self._refuse(outbox, stored.refused, -1, set_aside=True))
            elif upload.ref.hash == stored.hash:
                upload.stored(stored.offset)
        return refused

    def send_again(self, missing: wire.MissingContent) -> None:
        """Send the chunks of contents again that the control plane does not have."""
        for key, upload in self._uploads.items():
            if upload.ref.hash in missing.hashes:
                upload.restart()
                self._outboxes[key].rewind()

    def _due(self, now: float) -> list[RunOutbox]:
        """Return the outboxes for the next message: a suspect, or all that are none."""
        for key, (due, pause) in self._suspects.items():
            if due <= now:
                self._suspects[key] = now + pause, min(2 * pause, MAX_SUSPECT_PAUSE_S)
                return [self._outboxes[key]]
        return [box for key, box in self._outboxes.items() if key not in self._suspects]

    def _suspect(self, keys: Iterable[AttemptKey]) -> None:
        """Send runs again, each alone."""
        for key in keys:
            # It may have been dropped since it was sent.
            if key in self._outboxes:
                self._suspects.setdefault(key, (0.0, RETRANSMIT_S))
                self._outboxes[key].rewind()

    def acknowledge(self, acks: Acks) -> list[Refusal]:
        """Handle a response. Return the attempts of which no further events are accepted.

        Those to set aside are still here, for :meth:`replace`; the others are dropped.
        """
        # The response to an earlier transmission: the current one is still in flight.
        if acks.number != self._number or self._sent_at is None:
            return []
        self._sent_at = None
        if acks.refused:
            return self._refuse_message(acks.refused)
        self._repeat_unanswered(acks)
        refused: list[Refusal] = []
        for ack in acks.acks:
            outbox = self._outboxes.get((ack.run_id, ack.attempt))
            if outbox is None:
                continue
            if ack.refused:
                refused.append(self._refuse(outbox, ack.refused, ack.upto, set_aside=ack.set_aside))
                continue
            if outbox.is_replaced and ack.upto >= outbox.next_seq:
                # A process that was restarted cannot know which events had arrived before.
                refused.append(_renumbered(outbox, ack.upto + 1))
                continue
            if ack.upto + 1 < outbox.first_seq:
                # What the control plane misses is here no more, and it takes nothing after a gap.
                outbox.unreadable = f"event {ack.upto + 1} is missing"
                refused.append(_renumbered(outbox, ack.upto + 1))
                continue
            if ack.upto >= outbox.first_seq:
                self._uploads.pop((ack.run_id, ack.attempt), None)
            outbox.acknowledge(ack.upto)
            if outbox.complete and outbox.empty:
                self.drop(outbox.lease)
        return refused

    def _repeat_unanswered(self, acks: Acks) -> None:
        """Send the runs again that a response leaves out; those in it are no suspects."""
        answered = {(ack.run_id, ack.attempt) for ack in acks.acks}
        for key in self._in_flight:
            if key in answered:
                self._suspects.pop(key, None)
        self._suspect(key for key in self._in_flight if key not in answered)

    def _refuse_message(self, reason: str) -> list[Refusal]:
        if len(self._in_flight) > 1:
            self._suspect(self._in_flight)
            return []
        outboxes = (self._outboxes.get(key) for key in self._in_flight)
        return [self._refuse(box, reason, -1, set_aside=True) for box in outboxes if box]

    def _refuse(self, outbox: RunOutbox, reason: str, upto: int, *, set_aside: bool) -> Refusal:
        # The end that replaced a run's events is refused too: there is nothing left to send.
        refusal = Refusal(
            outbox=outbox,
            reason=reason,
            set_aside=set_aside and not outbox.is_replaced,
            seq=max(outbox.first_seq, upto + 1),
        )
        if not refusal.set_aside:
            self.drop(outbox.lease)
        return refusal

    def overdue(self, now: float) -> bool:
        return self._sent_at is not None and now - self._sent_at > RETRANSMIT_S

    def give_up(self) -> None:
        """Take the message in flight for lost, as its response is overdue."""
        self._suspect(self._in_flight)
        self.rewind()

    def rewind(self) -> None:
        """Give up the message in flight, so that its events are sent again."""
        self._sent_at = None
        for outbox in self._outboxes.values():
            outbox.rewind()

    def restart(self) -> None:
        """Send all again that is not acknowledged: the control plane or the connection is new."""
        self._suspects.clear()
        for upload in self._uploads.values():
            upload.restart()
        self.rewind()

    def close(self) -> None:
        """Leave unacknowledged events on disk for the next process."""
        for outbox in self._outboxes.values():
            outbox.close()

    def unacknowledged(self, now: float) -> tuple[int, float]:
        """Count the events without an acknowledgement; also return since when one is due."""
        # A copy, as another thread reads this.
        events = sum(box.waiting for box in list(self._outboxes.values()))
        return events, 0.0 if self._sent_at is None else max(0.0, now - self._sent_at)

    def drop_run(self, run_id: str) -> None:
        """Discard the events of all attempts of a run."""
        for outbox in [box for box in self._outboxes.values() if box.lease.run_id == run_id]:
            self.drop(outbox.lease)

    def drop(self, lease: Lease) -> None:
        """Discard the events of an attempt."""
        self._suspects.pop((lease.run_id, lease.attempt), None)
        self._uploads.pop((lease.run_id, lease.attempt), None)
        outbox = self._outboxes.pop((lease.run_id, lease.attempt), None)
        if outbox is not None:
            outbox.discard()


def _renumbered(outbox: RunOutbox, seq: int) -> Refusal:
    return Refusal(outbox=outbox, reason=outbox.unreadable, set_aside=True, seq=seq)
