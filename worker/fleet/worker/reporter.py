"""What to report next: as much as there is, when what was said before is acknowledged.

While nothing is under way, an event leaves at once. Under load the acknowledgements set the pace,
and messages grow: that was measured to be faster than several messages under way. What is not
acknowledged in time, or was sent over a connection that broke, is sent again from where the
acknowledgements ended.
"""

from __future__ import annotations

import msgspec

from worker.fleet.messaging import messages as wire
from worker.fleet.worker.outbox import RunOutbox

MESSAGE_BYTES = 256 * 1024
LEASE_BYTES = 256
"""What a run adds to a message beside its events."""
REPEAT_S = 2.0

Key = tuple[str, int]


class ReportSender:
    """The boxes of all runs, and which of their events are under way."""

    def __init__(self) -> None:
        self._boxes: dict[Key, RunOutbox] = {}
        self._number = 0
        self.limit = MESSAGE_BYTES
        self._sent_at: float | None = None

    def add(self, box: RunOutbox) -> None:
        self._boxes[box.lease.run_id, box.lease.attempt] = box

    @property
    def empty(self) -> bool:
        return not self._boxes

    def next(self, now: float) -> wire.Reports | None:
        """The next message, if there is something to say and nothing under way. ``now`` is in
        seconds, by any clock that only goes forward."""
        if self._sent_at is not None:
            return None
        runs, room = list[wire.RunReport](), self.limit
        for box in self._boxes.values():
            if box.waits and (events := box.take(room, even_if_larger=not runs)):
                room -= sum(map(len, events)) + LEASE_BYTES
                raw = [msgspec.Raw(event) for event in events]
                runs.append(wire.RunReport(lease=box.lease, events=raw))
        if not runs:
            return None
        self._number += 1
        self._sent_at = now
        return wire.Reports(number=self._number, runs=runs)

    def acknowledge(self, acks: wire.Acks) -> list[Key]:
        """Take an answer; the attempts of which nothing more is wanted."""
        if acks.number != self._number or self._sent_at is None:
            return []
        self._sent_at = None
        refused: list[Key] = []
        for ack in acks.acks:
            box = self._boxes.get((ack.run_id, ack.attempt))
            if box is None:
                continue
            if ack.refused:
                refused.append((ack.run_id, ack.attempt))
                self.drop(box.lease)
                continue
            box.acknowledge(ack.upto)
            if box.complete and box.empty:
                self.drop(box.lease)
        return refused

    def late(self, now: float) -> bool:
        """Whether an answer is overdue."""
        return self._sent_at is not None and now - self._sent_at > REPEAT_S

    def rewind(self) -> None:
        """Nothing is under way any more; what was is to be sent again."""
        self._sent_at = None
        for box in self._boxes.values():
            box.rewind()

    def close(self) -> None:
        """Leave what is not reported to the next process."""
        for box in self._boxes.values():
            box.close()

    def drop(self, lease: wire.Lease) -> None:
        """Nothing of this run is to be reported any more."""
        box = self._boxes.pop((lease.run_id, lease.attempt), None)
        if box is not None:
            box.discard()
