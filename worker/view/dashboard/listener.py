"""What one browser has not been told yet, however slow it is: never more than so much.

That something changed is said once, whatever it was and however often. Lines of a log are kept up
to a limit; over it they are thrown away, and the page is told to ask for all of it anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LINES = 2000
LETTERS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveUpdate:
    """What a browser is told at once. ``anew``: ask for everything; ``changed``: for what is
    shown; ``lines`` are to be added to the log; ``ended``: there is no more to come."""

    anew: bool = False
    changed: bool = False
    lines: tuple[Mapping[str, Any], ...] = ()
    ended: bool = False


class Listener:
    """One browser that looks at one run, at one order, or at everything."""

    def __init__(self, *, run_id: str = "", order_id: str = "") -> None:
        self.run_id = run_id
        self.order_id = order_id
        self._lines: list[Mapping[str, Any]] = []
        self._letters = 0
        self._anew = False
        self._changed = False
        self._ended = False
        self._some = asyncio.Event()

    @property
    def kept(self) -> int:
        """How many lines wait."""
        return len(self._lines)

    def cares(self, *, run_id: str, order_id: str) -> bool:
        """Whether the page shows something of this run or order."""
        if self.run_id:
            return run_id == self.run_id
        return not self.order_id or order_id == self.order_id

    def changed(self) -> None:
        self._changed = True
        self._some.set()

    def lost(self) -> None:
        """Something was missed."""
        self._anew = True
        self._lines.clear()
        self._letters = 0
        self._some.set()

    def add(self, line: Mapping[str, Any]) -> None:
        self._letters += len(line["text"])
        if self._anew:
            return  # the page asks for this too
        if len(self._lines) >= LINES or self._letters > LETTERS:
            self.lost()
            return
        self._lines.append(line)
        self._some.set()

    def end(self) -> None:
        self._ended = True
        self._some.set()

    async def take(self, wait_s: float) -> LiveUpdate:
        """What is to be told now; nothing, where there was nothing for so long."""
        try:
            async with asyncio.timeout(wait_s):
                await self._some.wait()
        except TimeoutError:
            return LiveUpdate()
        self._some.clear()
        told = LiveUpdate(
            anew=self._anew,
            changed=self._changed,
            lines=tuple(self._lines),
            ended=self._ended,
        )
        self._lines.clear()
        self._letters = 0
        self._anew = self._changed = False
        return told
