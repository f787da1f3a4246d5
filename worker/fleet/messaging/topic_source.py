"""The interface of a source of messages for triggers: received once, acknowledged after a commit.

The messages come from the world and are nobody's to repeat. So the broker queues them for a session
that outlives connections, and each is acknowledged when its order is stored: what was not
acknowledged comes again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

from worker.fleet.messaging.bus import MAX_BATCH_BYTES

MAX_UNACKNOWLEDGED = 512
"""Messages that the broker sends before it waits for acknowledgements."""
# Messages with QoS 0 are not acknowledged, so nothing else bounds them.
MAX_WAITING, MAX_WAITING_BYTES = 20_000, 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMessage:
    """A message on a topic of a trigger. ``packet`` identifies it for its acknowledgement."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    reply_to: str = ""
    correlation: bytes = b""
    packet: tuple[int, int] = (0, 0)

    @property
    def size_bytes(self) -> int:
        """The size of what the message holds."""
        properties = sum(len(name) + len(value) for name, value in self.properties.items())
        return len(self.payload) + properties


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription to a topic filter; with ``retained``, also for retained messages."""

    qos: int = 1
    retained: bool = False


class TopicSource(Protocol):
    """A source of the messages on some topics."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *reason: object) -> None: ...

    def subscribe(
        self, subscriptions: Mapping[str, Subscription], stale: Iterable[str] = ()
    ) -> None:
        """Receive messages of these filters alone; ``stale`` ones may be left from earlier."""

    async def receive(self, wait_s: float) -> list[TopicMessage]:
        """Wait up to ``wait_s`` seconds for messages. Return all there are."""

    def acknowledge(self, messages: Iterable[TopicMessage]) -> None:
        """Let the broker forget messages."""


class TopicInbox:
    """A queue of messages.

    Those with QoS 0 above ``MAX_WAITING``, or ``MAX_WAITING_BYTES`` in total, are dropped and
    counted.
    """

    def __init__(self) -> None:
        self._messages: deque[TopicMessage] = deque()
        self._waiting_bytes = 0
        self._not_empty = asyncio.Event()
        self.dropped = 0

    def put(self, message: TopicMessage) -> None:
        if message.qos == 0 and self._full(message.size_bytes):
            self.dropped += 1
            return
        self._messages.append(message)
        self._waiting_bytes += message.size_bytes
        self._not_empty.set()

    def _full(self, size_bytes: int) -> bool:
        waiting_bytes = self._waiting_bytes + size_bytes
        full = len(self._messages) >= MAX_WAITING or waiting_bytes > MAX_WAITING_BYTES
        # An empty queue takes one message of any size: else it could never be delivered.
        return full and bool(self._messages)

    def forget_unacknowledged(self) -> None:
        """Drop what the broker sends again."""
        self._messages = deque(message for message in self._messages if message.qos == 0)
        self._waiting_bytes = sum(message.size_bytes for message in self._messages)

    async def take(self, wait_s: float) -> list[TopicMessage]:
        """Wait up to ``wait_s`` seconds for messages.

        Return up to ``MAX_UNACKNOWLEDGED``, and of large ones fewer.
        """
        if not self._messages:
            self._not_empty.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._not_empty.wait()
            except TimeoutError:
                return []
        taken = [self._messages.popleft()]
        taken_bytes = taken[0].size_bytes
        # Their orders share a transaction, which has all of them in memory once more.
        while (
            self._messages
            and len(taken) < MAX_UNACKNOWLEDGED
            and taken_bytes + self._messages[0].size_bytes <= MAX_BATCH_BYTES
        ):
            taken.append(self._messages.popleft())
            taken_bytes += taken[-1].size_bytes
        self._waiting_bytes -= taken_bytes
        return taken
