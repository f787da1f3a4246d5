"""What to report next: as much as there is, a few messages ahead of what is acknowledged.

While nothing is under way, an event leaves at once. Under load the acknowledgements set the pace,
and messages grow. What is not acknowledged in time, or was sent over a connection that broke, is
sent again from where the acknowledgements ended.
"""

from __future__ import annotations

import msgspec

from worker.fleet.outbox import Box
from worker.transports import wire

WINDOW = 4
"""How many messages may be under way."""
MESSAGE_BYTES = 256 * 1024
REPEAT_S = 2.0

Key = tuple[str, int]


class Reporter:
    """The boxes of all runs, and which of their events are under way."""

    def __init__(self) -> None:
        self._boxes: dict[Key, Box] = {}
        self._under_way: dict[int, float] = {}
        self._number = 0

    def add(self, box: Box) -> None:
        self._boxes[box.lease.run_id, box.lease.attempt] = box

    @property
    def empty(self) -> bool:
        return not self._boxes

    def next(self, now: float) -> wire.Reports | None:
        """The next message, if there is something to say and room to say it. ``now`` in seconds,
        by any clock that only goes forward."""
        if len(self._under_way) >= WINDOW:
            return None
        runs, room = list[wire.RunReport](), MESSAGE_BYTES
        for box in self._boxes.values():
            if room <= 0:
                break
            if box.waits:
                events = box.take(room)
                room -= sum(map(len, events))
                raw = [msgspec.Raw(event) for event in events]
                runs.append(wire.RunReport(lease=box.lease, events=raw))
        if not runs:
            return None
        self._number += 1
        self._under_way[self._number] = now
        return wire.Reports(number=self._number, runs=runs)

    def acknowledge(self, acks: wire.Acks) -> list[Key]:
        """Take an answer; the attempts of which nothing more is wanted."""
        if self._under_way.pop(acks.number, None) is None:
            return []
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
        return any(now - sent > REPEAT_S for sent in self._under_way.values())

    def rewind(self) -> None:
        """Nothing is under way any more; what was is to be sent again."""
        self._under_way.clear()
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
