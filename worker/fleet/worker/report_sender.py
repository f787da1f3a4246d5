"""Sending of reports: one message in flight, which holds all events that have come meanwhile.

Without load an event leaves at once. Under load the acknowledgements set the pace and messages grow
(backpressure). Events that are not acknowledged in time, or were sent over a connection that broke,
are retransmitted.
"""

from __future__ import annotations

import msgspec

from worker.fleet.messaging import messages as wire
from worker.fleet.worker.outbox import RunOutbox

MAX_MESSAGE_BYTES = 256 * 1024
LEASE_BYTES = 256
"""The size of a run's entry in a message, without its events."""
RETRANSMIT_S = 2.0

AttemptKey = tuple[str, int]
"""A run's id and the number of the attempt."""


class ReportSender:
    """The outboxes of all runs, and the state of the message in flight."""

    def __init__(self) -> None:
        self._outboxes: dict[AttemptKey, RunOutbox] = {}
        self._number = 0
        self._sent_at: float | None = None
        self.max_bytes = MAX_MESSAGE_BYTES

    def add(self, outbox: RunOutbox) -> None:
        self._outboxes[outbox.lease.run_id, outbox.lease.attempt] = outbox

    @property
    def empty(self) -> bool:
        return not self._outboxes

    def next(self, now: float) -> wire.Reports | None:
        """Return the next message; ``None`` without events, or while one is in flight.

        ``now`` is in seconds, by any monotonic clock.
        """
        # One message in flight was measured to be faster than several.
        if self._sent_at is not None:
            return None
        runs, room = list[wire.RunReport](), self.max_bytes
        for outbox in self._outboxes.values():
            # Only the first event of a message may exceed its size: else it could never leave.
            if outbox.has_unsent and (events := outbox.take(room, even_if_larger=not runs)):
                room -= sum(map(len, events)) + LEASE_BYTES
                raw = [msgspec.Raw(event) for event in events]
                runs.append(wire.RunReport(lease=outbox.lease, events=raw))
        if not runs:
            return None
        self._number += 1
        self._sent_at = now
        return wire.Reports(number=self._number, runs=runs)

    def acknowledge(self, acks: wire.Acks) -> list[AttemptKey]:
        """Handle a response. Return the attempts of which no further events are accepted."""
        # The response to an earlier transmission: the current one is still in flight.
        if acks.number != self._number or self._sent_at is None:
            return []
        self._sent_at = None
        refused: list[AttemptKey] = []
        for ack in acks.acks:
            outbox = self._outboxes.get((ack.run_id, ack.attempt))
            if outbox is None:
                continue
            if ack.refused:
                refused.append((ack.run_id, ack.attempt))
                self.drop(outbox.lease)
                continue
            outbox.acknowledge(ack.upto)
            if outbox.complete and outbox.empty:
                self.drop(outbox.lease)
        return refused

    def overdue(self, now: float) -> bool:
        return self._sent_at is not None and now - self._sent_at > RETRANSMIT_S

    def rewind(self) -> None:
        """Give up the message in flight, so that its events are sent again."""
        self._sent_at = None
        for outbox in self._outboxes.values():
            outbox.rewind()

    def close(self) -> None:
        """Leave unacknowledged events on disk for the next process."""
        for outbox in self._outboxes.values():
            outbox.close()

    def drop(self, lease: wire.Lease) -> None:
        """Discard the events of an attempt."""
        outbox = self._outboxes.pop((lease.run_id, lease.attempt), None)
        if outbox is not None:
            outbox.discard()
