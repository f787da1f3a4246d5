"""What comes of a run: its result, collected from its events."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from worker.core.completion import EventStream
from worker.core.events import AnyEvent, RunComplete, StepComplete
from worker.core.outcome import StepError
from worker.core.status import STATUS_OF_REASON, Status
from worker.errors import PlanError
from worker.runner.prepare import VERSIONS

if TYPE_CHECKING:
    from worker.sinks.base import Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class PathEntry:
    """One execution of a step: how it ended, and the steps that its edges selected."""

    step: str
    outcome: str
    error_type: str | None
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended. ``final_text`` is the final state as JSON, with secrets masked."""

    run_id: str
    status: Status
    error: StepError | None
    final_text: str | None
    events: tuple[AnyEvent, ...]
    duration: int

    @property
    def error_type(self) -> str | None:
        return self.error.type if self.error else None

    @property
    def error_message(self) -> str | None:
        return self.error.message if self.error else None

    @property
    def final_state(self) -> Any:
        return None if self.final_text is None else json.loads(self.final_text)

    @property
    def path(self) -> tuple[PathEntry, ...]:
        """The executions in the order in which they completed."""
        return tuple(_entry(event) for event in self.events if isinstance(event, StepComplete))


def _entry(event: StepComplete) -> PathEntry:
    return PathEntry(
        step=event.job_id,
        outcome=STATUS_OF_REASON[event.reason].value,
        error_type=event.error.type if event.error else None,
        next=event.next,
    )


HELD_LIMIT = 256 * 1024 * 1024
"""How much of dataclips a result holds; the outputs of later steps go to the sinks alone."""


class Collector:
    """Hands every event to the sinks, and keeps what the result needs."""

    def __init__(self, run_id: str, sinks: Sequence[Sink]) -> None:
        self.run_id = run_id
        self._sinks = sinks
        self._events: list[AnyEvent] = []
        self._final_text: str | None = None
        self._held = 0

    def receive(self, event: AnyEvent) -> None:
        if isinstance(event, RunComplete) and event.final_state is not None:
            self._final_text = event.final_state.text
            event = withheld(event)
        for sink in self._sinks:
            sink.receive(event)
        self._events.append(self._within_reason(event))

    def _within_reason(self, event: AnyEvent) -> AnyEvent:
        if not isinstance(event, StepComplete) or event.output_dataclip is None:
            return event
        self._held += len(event.output_dataclip.text)
        if self._held <= HELD_LIMIT:
            return event
        return replace(event, output_dataclip=None, withheld=True)

    def refuse(self, workflow: str, error: PlanError) -> None:
        """Complete a run that cannot start."""
        tail, now = EventStream(self.run_id), time.time_ns() // 1000
        head = {"run_id": self.run_id, "seq": 0, "timestamp": now, "type": "run:start"}
        self.receive(tail.accept({**head, "workflow": workflow, "versions": VERSIONS}, None))
        for event in tail.close(StepError(type=error.type, message=str(error)), now=now):
            self.receive(event)

    def result(self) -> Result:
        last = self._events[-1]
        assert isinstance(last, RunComplete)
        return Result(
            run_id=self.run_id,
            status=last.status,
            error=last.error,
            final_text=self._final_text,
            events=tuple(self._events),
            duration=last.duration,
        )


def withheld(event: RunComplete) -> RunComplete:
    """The event as sinks may see it: without a final state that is over the payload limit."""
    return replace(event, final_state=None) if event.withheld else event
