"""The interface of a source of messages for triggers: received once, acknowledged after a commit.

The messages come from the world and are nobody's to repeat. So the broker queues them for a session
that outlives connections, and each is acknowledged when its order is stored: what was not
acknowledged comes again.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

from worker.fleet.messaging.bus import MAX_BATCH_BYTES

MAX_BATCH = 512
"""The most messages that one ``receive`` returns."""
MAX_UNACKNOWLEDGED = 4096
"""Messages that the broker sends before it waits for acknowledgements."""
# Messages with QoS 0 are not acknowledged, so nothing else bounds their number.
MAX_WAITING, MAX_WAITING_BYTES = 20_000, 64 * 1024 * 1024


# That of an entry of a dict, with its share of those that are free.
_PROPERTY_BYTES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMessage:
    """A message on a topic of a trigger.

    ``packet`` identifies it for its acknowledgement: the number of the connection and that of the
    packet. ``repeated``: the broker has sent it before, with the same number of the packet.
    ``subscriptions`` are the identifiers of those that it was sent for, empty where that is not
    known: where filters overlap, a broker may send a message for each. ``dropped_properties_bytes``
    is the size of those that ``properties`` lacks: of equal names, it has the last.
    """

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    dropped_properties_bytes: int = 0
    reply_to: str = ""
    correlation: bytes = b""
    packet: tuple[int, int] = (0, 0)
    repeated: bool = False
    subscriptions: frozenset[int] = frozenset()

    @property
    def size_bytes(self) -> int:
        """The size of what the message holds in memory, which short properties take most of."""
        properties = sum(
            _PROPERTY_BYTES + sys.getsizeof(name) + sys.getsizeof(value)
            for name, value in self.properties.items()
        )
        addresses = len(self.topic) + len(self.reply_to) + len(self.correlation)
        return len(self.payload) + properties + addresses


def identifier_of(filter: str) -> int:
    """Derive the identifier of a subscription, which messages that are sent for it have."""
    # Not by counting: the next control plane gets messages that were sent for this one's. MQTT has
    # 28 bits for it, and not 0.
    return int.from_bytes(hashlib.sha256(filter.encode()).digest()[:4]) % (2**28 - 1) + 1


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
        full = self.is_full(message) or len(self._messages) >= MAX_WAITING
        # An empty queue takes one message of any size: else it could never be delivered.
        if message.qos == 0 and full and self._messages:
            self.dropped += 1
            return
        self._messages.append(message)
        self._waiting_bytes += message.size_bytes
        self._not_empty.set()

    def is_full(self, message: TopicMessage) -> bool:
        """Return True where a message would exceed the bytes that may wait."""
        waiting_bytes = self._waiting_bytes + message.size_bytes
        return bool(self._messages) and waiting_bytes > MAX_WAITING_BYTES

    @property
    def is_empty(self) -> bool:
        return not self._messages

    def forget_unacknowledged(self) -> list[TopicMessage]:
        """Drop and return what the broker sends again."""
        dropped = [message for message in self._messages if message.qos]
        self._messages = deque(message for message in self._messages if message.qos == 0)
        self._waiting_bytes = sum(message.size_bytes for message in self._messages)
        return dropped

    async def take(self, wait_s: float) -> list[TopicMessage]:
        """Wait up to ``wait_s`` seconds for messages.

        Return up to ``MAX_BATCH``, and of large ones fewer.
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
            and len(taken) < MAX_BATCH
            and taken_bytes + self._messages[0].size_bytes <= MAX_BATCH_BYTES
        ):
            taken.append(self._messages.popleft())
            taken_bytes += taken[-1].size_bytes
        self._waiting_bytes -= taken_bytes
        return taken
