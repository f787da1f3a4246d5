"""Faults that the stand-in for Lightning injects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What goes wrong with one event."""

    CUT_BEFORE = "cut before"
    """The connection breaks before the event is handled."""
    CUT_AFTER = "cut after"
    """The connection breaks after the event was handled, in place of the reply."""
    LOSE_REQUEST = "lose request"
    """The event is not handled and not answered; the connection stays."""
    LOSE_REPLY = "lose reply"
    """The event is handled and not answered; the connection stays."""
    CRASH_CHANNEL = "crash channel"
    """The event is answered, and ``phx_error`` follows."""
    CLOSE_CHANNEL = "close channel"
    """The event is answered, and ``phx_close`` follows."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The event is not handled, and answered with this error."""

    response: Any


class Faults:
    """Faults that wait for their events."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str | None, Fault | Refuse]] = []

    def add(self, event: str, fault: Fault | Refuse, run_id: str | None) -> None:
        self._waiting.append((event, run_id, fault))

    def take(self, event: str, run_id: str) -> Fault | Refuse | None:
        """Return the first fault that waits for such an event, and remove it."""
        for waiting in self._waiting:
            if waiting[0] == event and waiting[1] in (None, run_id):
                self._waiting.remove(waiting)
                return waiting[2]
        return None
