"""Messages that wait to be sent; the room is bounded for those that nobody waits for."""

from __future__ import annotations

import asyncio

from worker.fleet.messaging.bus import Message

MAX_MESSAGES, MAX_BYTES = 100_000, 256 * 1024 * 1024
"""How many messages wait to be sent, and their size; further ones are dropped."""

Confirmation = asyncio.Future[None]
Item = tuple[Message, Confirmation | None]


class Outbound(asyncio.Queue[Item]):
    """Messages, each with the confirmation that its sender waits for, if it does."""

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self._max_messages = max_messages
        self._room_bytes = max_bytes

    def offer(self, message: Message) -> bool:
        """Append a message. Return False, and drop it, where it has no room."""
        full = self.qsize() >= self._max_messages or len(message.payload) > self._room_bytes
        # An empty queue takes one message of any size: else it could never be sent.
        if full and not self.empty():
            return False
        self.put_nowait((message, None))
        return True

    def _put(self, item: Item) -> None:
        self._room_bytes -= len(item[0].payload)
        super()._put(item)

    def _get(self) -> Item:
        item = super()._get()
        self._room_bytes += len(item[0].payload)
        return item
