"""Signals from a control plane to its services."""

from __future__ import annotations

import asyncio


class Signal:
    """A signal to several listeners, each with an event of its own to clear."""

    def __init__(self) -> None:
        self._events: list[asyncio.Event] = []

    def listen(self) -> asyncio.Event:
        """Return an event that is set with each signal from now on."""
        self._events.append(asyncio.Event())
        return self._events[-1]

    def send(self) -> None:
        for event in self._events:
            event.set()
