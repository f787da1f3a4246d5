"""A bus: what carries messages between clients, the control plane and workers.

A bus may lose, repeat and reorder what it carries. Whoever needs something delivered says it again
until it is answered, and whoever receives it can bear to receive it twice.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol, Self

BATCH = 256
"""The most messages that are handed over at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. ``reply_to`` and ``correlation`` are MQTT 5's response topic and correlation
    data; ``expiry_s`` is after how many seconds a retained one is forgotten, 0 for never.
    ``once`` says that it is not said again, so that the broker has to confirm it."""

    topic: str
    payload: bytes
    retain: bool = False
    reply_to: str = ""
    correlation: bytes = b""
    expiry_s: int = 0
    content_type: str = "application/json"
    once: bool = False


@dataclass(frozen=True, slots=True)
class Connected:
    """The bus is there (again): subscriptions hold, and nothing said before is sure."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The bus is gone, and tries to come back."""

    reason: str


Arrival = Message | Connected | Disconnected


class Bus(Protocol):
    """One party's place on the bus."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *reason: object) -> None: ...

    def publish(self, message: Message) -> None:
        """Send a message, if the bus is there. Never waits."""

    def subscribe(self, filter: str) -> None:
        """Hear what matches a filter too."""

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        """What has arrived: waits for the first, up to ``wait_s`` seconds; empty after that."""


class Inbox:
    """What has arrived and was not taken yet. What is over ``messages``, or ``size`` bytes in sum,
    is dropped: it is said again."""

    def __init__(self, messages: int = 100_000, size: int = 256 * 1024 * 1024) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._messages = messages
        self._room = size
        self._some = asyncio.Event()
        self.dropped = 0

    def put(self, arrival: Arrival) -> None:
        size = len(arrival.payload) if isinstance(arrival, Message) else 0
        if isinstance(arrival, Message) and self._full(size):
            self.dropped += 1
            return
        self._room -= size
        self._arrivals.append(arrival)
        self._some.set()

    def _full(self, size: int) -> bool:
        """One message there is always room for, whatever its size."""
        over = len(self._arrivals) >= self._messages or size > self._room
        return over and bool(self._arrivals)

    async def take(self, wait_s: float | None = None) -> list[Arrival]:
        if not self._arrivals:
            self._some.clear()
            try:
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together.
                async with asyncio.timeout(wait_s):
                    await self._some.wait()
            except TimeoutError:
                return []
        count = min(len(self._arrivals), BATCH)
        taken = [self._arrivals.popleft() for _ in range(count)]
        self._room += sum(len(one.payload) for one in taken if isinstance(one, Message))
        return taken
