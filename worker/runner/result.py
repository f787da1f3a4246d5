"""Result of a run, and the collector that builds it from the run's events."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from worker.core.event_stream import EventStream
from worker.core.events import AnyEvent, RunComplete, RunStart, StepComplete, cost_of
from worker.core.execution import Execution, executions
from worker.core.outcome import StepError
from worker.core.status import STATUS_OF_REASON, Status
from worker.errors import UsageError
from worker.runner.prepare import VERSIONS
from worker.util.machine_clock import now_us
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.sinks.base import Sink


class PathEntry(Struct, frozen=True, kw_only=True):
    """One completed execution: its step, its status, and the steps that its edges selected."""

    step: str
    outcome: str
    error_type: str | None
    next: tuple[str, ...]


class StepResult(Struct, frozen=True, kw_only=True):
    """One completed execution of a step, with its output and log.

    ``output`` is ``None`` where the step has none, or one that is withheld. ``duration`` is in
    microseconds. ``cost`` counts the engine's instructions, where the run has fuel.
    """

    step: str
    status: Status
    output: Any
    error: StepError | None
    log: tuple[str, ...]
    next: tuple[str, ...]
    duration: int
    cost: int | None = None


class Result(Struct, frozen=True, kw_only=True):
    """Result of a run. ``final_text`` is the final state as JSON, with secrets masked.

    ``duration`` is in microseconds. ``cost`` counts the engine's instructions of a run with fuel:
    those of its JavaScript steps and of all conditions. ``workflow`` and ``input_text`` are what
    ran, for a report.
    """

    run_id: str
    status: Status
    error: StepError | None
    final_text: str | None
    events: tuple[AnyEvent, ...]
    duration: int
    cost: int | None = None
    workflow: Workflow | None = None
    input_text: str | None = None

    def __repr__(self) -> str:
        # The events of a run fill screens of a notebook.
        error = f" ({self.error.type}: {self.error.message})" if self.error else ""
        path = " → ".join(entry.step for entry in self.path) or "no step"
        return f"<Result {self.status.value}{error} in {self.duration / 1000:.1f} ms: {path}>"

    @property
    def error_type(self) -> str | None:
        return self.error.type if self.error else None

    @property
    def error_message(self) -> str | None:
        return self.error.message if self.error else None

    @property
    def final_state(self) -> Any:
        """The final state as Python objects; ``None`` if there is none."""
        return None if self.final_text is None else json.loads(self.final_text)

    @property
    def path(self) -> tuple[PathEntry, ...]:
        """The executions in the order in which they completed."""
        return tuple(_entry(event) for event in self.events if isinstance(event, StepComplete))

    @property
    def steps(self) -> tuple[StepResult, ...]:
        """The executions with their outputs and logs, in the order in which they completed."""
        runs = executions(self.events)
        return tuple(_step(run, run.complete) for run in runs if run.complete is not None)

    def step(self, id: str, execution: int = -1) -> StepResult:
        """Return an execution of a step, by default the last one; the first one is 0.

        Raises :class:`UsageError` for a step that did not run, or not so often.
        """
        of_step = [step for step in self.steps if step.step == id]
        try:
            return of_step[execution]
        except IndexError:
            ran = ", ".join(dict.fromkeys(f"'{step.step}'" for step in self.steps))
            times = f"execution {execution} of " if of_step else ""
            raise UsageError(
                f"there is no {times}step '{id}' in this run (it ran: {ran})"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values, which ``json.dumps`` takes."""
        return {
            "run_id": self.run_id,
            "status": self.status.value,
            "error_type": self.error_type,
            "error_message": self.error_message,
            "final_state": self.final_state,
            "duration_us": self.duration,
            **_cost_field(self.cost),
            "steps": [
                {
                    "step": step.step,
                    "status": step.status.value,
                    "error_type": step.error.type if step.error else None,
                    "error_message": step.error.message if step.error else None,
                    "output": step.output,
                    "log": list(step.log),
                    "next": list(step.next),
                    "duration_us": step.duration,
                    **_cost_field(step.cost),
                }
                for step in self.steps
            ],
        }


def _cost_field(cost: int | None) -> dict[str, int]:
    return {} if cost is None else {"cost": cost}


def _step(run: Execution, complete: StepComplete) -> StepResult:
    dataclip = complete.output_dataclip
    return StepResult(
        step=complete.job_id,
        status=STATUS_OF_REASON[complete.reason],
        output=None if dataclip is None else dataclip.value,
        error=complete.error,
        log=tuple(line.message for line in run.logs),
        next=complete.next,
        duration=complete.duration,
        cost=cost_of(complete),
    )


def _entry(event: StepComplete) -> PathEntry:
    return PathEntry(
        step=event.job_id,
        outcome=STATUS_OF_REASON[event.reason].value,
        error_type=event.error.type if event.error else None,
        next=event.next,
    )


HELD_LIMIT = 256 * 1024 * 1024
"""The most characters of outputs that a result holds. Only sinks receive those of later steps."""


class Collector:
    """Passes each event to the sinks, and keeps what the result consists of."""

    def __init__(self, run_id: str, sinks: Sequence[Sink]) -> None:
        self.run_id = run_id
        self._sinks = sinks
        self._events: list[AnyEvent] = []
        self._final_text: str | None = None
        self._held = 0

    def receive(self, event: AnyEvent) -> None:
        if type(event) is RunComplete and event.final_state is not None:
            # The caller gets the whole state; the payload limit is for what leaves the process.
            self._final_text = event.final_state.text
            event = without_withheld(event)
        for sink in self._sinks:
            sink.receive(event)
        self._events.append(self._bounded(event))

    def _bounded(self, event: AnyEvent) -> AnyEvent:
        # A long loop over a large state would otherwise fill the memory of the parent.
        if type(event) is not StepComplete or event.output_dataclip is None:
            return event
        self._held += len(event.output_dataclip.text)
        if self._held <= HELD_LIMIT:
            return event
        return replace(event, output_dataclip=None, withheld=True)

    def reject(self, workflow: str, reason: StepError) -> None:
        """Complete a run whose workflow cannot be compiled, with the error as its reason."""
        stream, time_us = EventStream(self.run_id), now_us()
        start = RunStart(
            run_id=self.run_id, seq=0, timestamp=time_us, workflow=workflow, versions=VERSIONS
        )
        stream.check(start)
        self.receive(start)
        for event in stream.complete(reason, now_us=time_us):
            self.receive(event)

    def result(self) -> Result:
        """Return the result of the run, which must be complete."""
        last = self._events[-1]
        assert isinstance(last, RunComplete)
        return Result(
            run_id=self.run_id,
            status=last.status,
            error=last.error,
            final_text=self._final_text,
            events=tuple(self._events),
            duration=last.duration,
            cost=cost_of(last),
        )


def without_withheld(event: RunComplete) -> RunComplete:
    """Remove a final state that is over the payload limit, as sinks must not receive it."""
    return replace(event, final_state=None) if event.withheld else event
