"""Sink that hides objects in log lines of jobs: ``--sanitize``."""

from __future__ import annotations

from msgspec.structs import replace

from worker.core.events import AnyEvent, RunLog
from worker.lightning.sanitize import sanitize
from worker.sinks.base import Sink


class SanitizedSink:
    """Passes events on, with the objects in the log lines of jobs replaced after ``policy``."""

    def __init__(self, sink: Sink, policy: str) -> None:
        self._sink = sink
        self._policy = policy

    def receive(self, event: AnyEvent) -> None:
        if isinstance(event, RunLog) and event.source == "JOB":
            event = replace(event, message=sanitize(event.message, self._policy))
        self._sink.receive(event)

    def close(self) -> None:
        self._sink.close()
