"""Interface of a sink: a receiver of the events of a run."""

from __future__ import annotations

from typing import Protocol

from worker.core.events import AnyEvent


class Sink(Protocol):
    """Receiver of the events of a run, in order. ``close`` is called once, after the last."""

    def receive(self, event: AnyEvent) -> None: ...

    def close(self) -> None: ...
