"""Logger that keeps the names of its events."""

from __future__ import annotations

from typing import Any


class EventNames:
    """Logger of which a test reads the names of the events."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def _add(self, event: str, **fields: Any) -> None:
        self.names.append(event)

    critical = warning = info = _add
