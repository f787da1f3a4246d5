"""Receiver of a run's events, between what executes runs and what reports them."""

from __future__ import annotations

from typing import Protocol

from worker.core.events import AnyEvent


class RecordedLines(Protocol):
    """Lines of a recording that wait to be reported with an event."""

    def take(self, limit_bytes: int, *, last: bool) -> bytes: ...


class EventReceiver(Protocol):
    """Receives an event, and what was recorded before it where its run is recorded."""

    def __call__(self, event: AnyEvent, recorded: RecordedLines | None = None) -> None: ...
