"""The interface of a bus, which carries messages between clients, control planes and workers.

A bus may lose, repeat and reorder messages. Senders retransmit until a message is acknowledged, and
receivers are idempotent: delivery is at least once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol, Self

from worker.errors import WorkerError
from worker.util.machine_clock import monotonic_s

MAX_BATCH, MAX_BATCH_BYTES = 256, 4 * 1024 * 1024
"""The most messages that one ``receive`` returns, and their size unless there is only one."""

_NOT_IN_TOPICS = frozenset("+#\0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message.

    ``reply_to`` and ``correlation`` are MQTT 5's response topic and correlation data. A
    message expires after ``expiry_s`` seconds, 0 for never. ``bulk`` marks a part of a large
    content, which others need not wait for. ``provisional`` marks a retained state that a newer one
    may replace before it is sent. ``properties`` are MQTT 5's user properties.
    """

    topic: str
    payload: bytes
    retain: bool = False
    reply_to: str = ""
    correlation: bytes = b""
    expiry_s: int = 0
    content_type: str = "application/json"
    bulk: bool = False
    provisional: bool = False
    properties: tuple[tuple[str, str], ...] = ()


def problem_of(message: Message, limit_bytes: int) -> str:
    """Return why a message must not be sent; an empty text for a sound one."""
    if not message.topic or not _NOT_IN_TOPICS.isdisjoint(message.topic):
        return f"a message on the topic {message.topic[:100]!r}"
    if len(message.payload) > limit_bytes:
        return (
            f"{len(message.payload):,} bytes on {message.topic}, and the limit is {limit_bytes:,}"
        )
    return ""


class BrokerRefusal(WorkerError):
    """A refusal of a message by the broker, such as for its size or a quota of the moment."""


class AccessDenied(BrokerRefusal):
    """A refusal of the credentials, or of a message by the access list: repetition is of no use."""


class QuotaExceeded(BrokerRefusal):
    """A refusal of the moment: the broker may accept the same message later."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection was made: subscriptions are active, and earlier messages may be lost."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection broke, or could not be made; the bus tries to reconnect."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Congestion:
    """Notice of a broker that takes messages more slowly than they are published.

    At the beginning ``dropped`` is 0, and at the end the number of messages that were dropped.
    """

    dropped: int


@dataclass(frozen=True, slots=True)
class MessagesRefused:
    """Notice that the broker has refused published messages: how many, and why the last one."""

    reason: str
    number: int


Change = Connected | Disconnected | Congestion | MessagesRefused
"""A change of the connection."""
Arrival = Message | Change


class Bus(Protocol):
    """The connection of one participant."""

    @property
    def waiting(self) -> tuple[int, int]:
        """The numbers of messages that wait to be received, and to be sent."""

    @property
    def dropped(self) -> tuple[int, int]:
        """The numbers of received and of published messages that had no room, and were dropped."""

    @property
    def oldest_s(self) -> float:
        """The seconds that the oldest of the messages waits that are to be received."""

    @property
    def max_message_bytes(self) -> int:
        """The largest payload that can be sent, as far as it is known by now."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *reason: object) -> None: ...

    def publish(self, message: Message) -> None:
        """Send a message, or drop it while disconnected. Never waits."""

    async def confirm(self, message: Message) -> None:
        """Send a message, and wait until the broker has it.

        Raises :class:`ConnectionError`, and :class:`BrokerRefusal` where the broker refuses it.
        """

    def subscribe(self, filter: str) -> None:
        """Add a topic filter, which holds for later connections too."""

    def unsubscribe(self, filter: str) -> None:
        """Remove a topic filter, once it was removed as often as it was added."""

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        """Wait up to ``wait_s`` seconds for an arrival. Return all there are; empty after that.

        Raises :class:`AccessDenied` where the first connection is refused for its credentials.
        """


class Inbox:
    """A bounded queue of arrivals.

    Messages above ``max_messages``, or ``max_bytes`` in total, are dropped and counted.
    """

    # Dropping is safe, because senders retransmit; a queue without a bound is not.
    def __init__(self, max_messages: int = 100_000, max_bytes: int = 256 * 1024 * 1024) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._arrived_at: deque[float] = deque()
        self._max_messages = max_messages
        self._room_bytes = max_bytes
        self._awaited: asyncio.Future[None] | None = None
        self.dropped = 0

    def put(self, arrival: Arrival) -> None:
        size = _size_bytes(arrival)
        if isinstance(arrival, Message) and self._full(size):
            self.dropped += 1
            return
        self._room_bytes -= size
        self._arrivals.append(arrival)
        self._arrived_at.append(monotonic_s())
        self._wake()

    def _wake(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    def __len__(self) -> int:
        return len(self._arrivals)

    @property
    def oldest_s(self) -> float:
        """The seconds since the oldest arrival came; 0 without one."""
        return monotonic_s() - self._arrived_at[0] if self._arrived_at else 0.0

    def _full(self, size: int) -> bool:
        full = len(self._arrivals) >= self._max_messages or size > self._room_bytes
        # An empty queue takes one message of any size: else it could never be delivered.
        return full and bool(self._arrivals)

    async def take(self, wait_s: float | None = None) -> list[Arrival]:
        """Wait up to ``wait_s`` seconds for an arrival. Return up to ``MAX_BATCH`` of them."""
        if not self._arrivals:
            await self._arrival(wait_s)
        if not self._arrivals:
            return []
        taken = [self._arrivals.popleft()]
        taken_bytes = _size_bytes(taken[0])
        # Large messages are handled in small batches, so that the others wait less for them.
        while (
            self._arrivals
            and len(taken) < MAX_BATCH
            and taken_bytes + _size_bytes(self._arrivals[0]) <= MAX_BATCH_BYTES
        ):
            taken.append(self._arrivals.popleft())
            taken_bytes += _size_bytes(taken[-1])
        for _ in taken:
            self._arrived_at.popleft()
        self._room_bytes += taken_bytes
        return taken

    async def _arrival(self, wait_s: float | None) -> None:
        """Wait for an arrival, or until the time is over."""
        loop = asyncio.get_running_loop()
        self._awaited = loop.create_future()
        # Not by cancelling: idle parts wait like this several times a second.
        timer = None if wait_s is None else loop.call_later(wait_s, self._wake)
        try:
            await self._awaited
        finally:
            if timer is not None:
                timer.cancel()


def _size_bytes(arrival: Arrival) -> int:
    return len(arrival.payload) if isinstance(arrival, Message) else 0
