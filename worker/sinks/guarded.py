"""Guard of a sink whose file, disk or reader may be gone: the run goes on without it."""

from __future__ import annotations

from worker.core.events import AnyEvent
from worker.errors import WorkerError
from worker.sinks.base import Sink


class GuardedSink:
    """Passes events on until the sink fails; ``failure`` is what it failed with."""

    def __init__(self, sink: Sink, name: str) -> None:
        """Guard a sink that writes to ``name``: a path, or the name of a stream."""
        self._sink = sink
        self.name = name
        self.failure: OSError | WorkerError | None = None

    def receive(self, event: AnyEvent) -> None:
        if self.failure is None:
            try:
                self._sink.receive(event)
            except (OSError, WorkerError) as error:
                self.failure = error

    def close(self) -> None:
        try:
            self._sink.close()
        except (OSError, WorkerError) as error:
            self.failure = self.failure or error

    @property
    def problem(self) -> str:
        """The failure as a sentence; empty where there is none, or only a reader has gone."""
        match self.failure:
            case None | BrokenPipeError():
                return ""
            case OSError(strerror=reason):
                return f"cannot write {self.name}: {reason}"
            case error:
                return str(error)
