"""Budget of queries: how much of a batch they may take, so that no client's delay another's orders.

A request looks through a bounded number of rows. Those of one batch are bounded together: what is
left waits for the next batch, in which orders and reports are handled first again.
"""

from __future__ import annotations

from typing import Final

from worker.fleet.control.store.listing import MAX_PARTS, PART_ROWS
from worker.fleet.messaging.bus import Message

MAX_COST: Final = MAX_PARTS * PART_ROWS
"""Rows to look through, and kB to reply, after which the others of a batch wait: some 50 ms."""
MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""What requests that wait may hold; clients send again those that are dropped."""
_MESSAGE_BYTES: Final = 1_000
"""What a message holds beside its payload."""

# A part of the rows would look like all of them to a client that does not know of parts.
TOO_MANY_ROWS: Final = (
    f"more than {MAX_COST:,} rows to look through: narrow the query by project, workflow, status "
    "or time, or request it in parts (partial), as present clients do"
)
"""Why a request is refused that would look through more than one request may."""


class QueryBudget:
    """What the queries of one batch have cost, and those that wait for the next one."""

    def __init__(self) -> None:
        self._cost = self._waiting_bytes = 0
        self._transmissions = set[tuple[object, ...]]()
        self.postponed: list[Message] = []

    @property
    def is_spent(self) -> bool:
        """True when further queries have to wait."""
        return self._cost >= MAX_COST

    def add_rows(self, rows: int) -> None:
        """Take note of rows that a query has looked through."""
        self._cost += rows

    def add_reply(self, size_bytes: int) -> None:
        """Take note of a reply, which takes time and memory too."""
        self._cost += size_bytes // 1000

    def postpone(self, message: Message) -> bool:
        """Let a query wait, once for all of its transmissions; return False where many wait."""
        # Its expiry is no part of it: the broker counts that down.
        transmission = (message.topic, message.reply_to, message.correlation, message.payload)
        if message.correlation and transmission in self._transmissions:
            return True
        size = _MESSAGE_BYTES + len(message.payload)
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            return False
        self._waiting_bytes += size
        self._transmissions.add(transmission)
        self.postponed.append(message)
        return True
