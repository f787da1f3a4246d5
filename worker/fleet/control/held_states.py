"""States that wait for the next tick under load, as newer ones may replace them before. Pure.

Most runs take less than a tick, and who waits for a run wants its end, which is published at once.
So under load a run has one or two states on the broker instead of three, and its order too.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker.fleet.messaging.bus import Message

FREE_PER_TICK = 25
"""The provisional states in a tick that are published at once, less those held in the tick before.

So a quiet fleet publishes all states, and a busy one holds them.
"""
MAX_HELD = 10_000


class HeldStates:
    """The newest provisional messages, beyond ``free`` in a tick and up to ``max_held``."""

    def __init__(self, *, free: int = FREE_PER_TICK, max_held: int = MAX_HELD) -> None:
        self._held: dict[str, Message] = {}
        self._free_per_tick = self._free = free
        self._max_held = max_held

    def hold(self, messages: Iterable[Message]) -> list[Message]:
        """Hold the provisional ones of messages; return the others, which replace what is held."""
        due: list[Message] = []
        for message in messages:
            if message.provisional and self._holds(message.topic):
                self._held[message.topic] = message
                continue
            if message.retain:
                self._held.pop(message.topic, None)
            due.append(message)
        return due

    def _holds(self, topic: str) -> bool:
        if self._free:
            self._free -= 1
            return False
        return topic in self._held or len(self._held) < self._max_held

    def release(self) -> list[Message]:
        """Return what was held in the tick that ends."""
        released = list(self._held.values())
        self._held.clear()
        self._free = max(0, self._free_per_tick - len(released))
        return released
