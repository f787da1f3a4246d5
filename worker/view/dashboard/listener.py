"""Bounded queue of live updates for one browser."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Backpressure: changes are coalesced into one flag, and log lines are queued up to a limit. Over it
# they are dropped, and the page fetches the whole log again.
MAX_LINES = 2000
MAX_CHARACTERS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveUpdate:
    """Update for a browser.

    ``reload``: fetch everything. ``changed``: fetch what is shown. ``lines``: append them to the
    log. ``responds``: whether the control plane does, where that changed. ``ended``: the stream
    ends.
    """

    reload: bool = False
    changed: bool = False
    lines: tuple[Mapping[str, Any], ...] = ()
    responds: bool | None = None
    ended: bool = False


class Listener:
    """Subscription of a browser to one run (and the states of its order), one order, or all."""

    def __init__(self, *, run_id: str = "", order_id: str = "") -> None:
        self.run_id = run_id
        self.order_id = order_id
        self._lines: list[Mapping[str, Any]] = []
        self._characters = 0
        self._reload = False
        self._changed = False
        self._responds: bool | None = None
        self._ended = False
        self._wakeup = asyncio.Event()

    @property
    def queued(self) -> int:
        """Number of queued lines."""
        return len(self._lines)

    def matches(self, *, run_id: str, order_id: str) -> bool:
        """Return whether the page shows this run or order."""
        if self.run_id and run_id == self.run_id:
            return True
        if self.order_id:
            return order_id == self.order_id
        return not self.run_id

    def mark_changed(self) -> None:
        self._changed = True
        self._wakeup.set()

    def mark_presence(self, responds: bool) -> None:
        """Note whether the control plane responds."""
        self._responds = responds
        self._wakeup.set()

    def require_reload(self) -> None:
        """Drop queued lines, and request a reload of the page."""
        self._reload = True
        self._lines.clear()
        self._characters = 0
        self._wakeup.set()

    def add(self, line: Mapping[str, Any]) -> None:
        self._characters += len(line["text"])
        if self._reload:
            return  # the reload fetches this line too
        if len(self._lines) >= MAX_LINES or self._characters > MAX_CHARACTERS:
            self.require_reload()
            return
        self._lines.append(line)
        self._wakeup.set()

    def end(self) -> None:
        self._ended = True
        self._wakeup.set()

    async def take(self, timeout_s: float) -> LiveUpdate:
        """Wait for the next update; it is empty after ``timeout_s`` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wakeup.wait()
        except TimeoutError:
            return LiveUpdate()
        self._wakeup.clear()
        update = LiveUpdate(
            reload=self._reload,
            changed=self._changed,
            lines=tuple(self._lines),
            responds=self._responds,
            ended=self._ended,
        )
        self._responds = None
        self._lines.clear()
        self._characters = 0
        self._reload = self._changed = False
        return update
