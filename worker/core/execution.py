"""Executions of the steps of a run: each start paired with its end, its log and its input."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from worker.core.events import AnyEvent, Dataclip, RunLog, StepComplete, StepStart


class Execution(Struct, frozen=True, kw_only=True):
    """One execution of a step. ``complete`` is ``None`` if the events stop before its end.

    ``input`` is the output of the execution that it follows; ``None`` if it begins with the run's
    input, or if that output is not in the events.
    """

    start: StepStart
    complete: StepComplete | None = None
    logs: tuple[RunLog, ...] = ()
    input: Dataclip | None = None

    @property
    def job_id(self) -> str:
        """The id of the step."""
        return self.start.job_id

    @property
    def number(self) -> int:
        """The number of the step's executions before this one."""
        return self.start.execution


def executions(events: Iterable[AnyEvent]) -> list[Execution]:
    """Pair starts with ends, log lines and inputs, in the order of the starts.

    Ends and log lines belong to the latest start with their ``step_id``. Those without a start are
    left out.
    """
    result: list[Execution] = []
    indexes: dict[str, int] = {}
    logs: dict[int, list[RunLog]] = {}
    outputs: dict[str, Dataclip | None] = {}
    for event in events:
        match event:
            case StepStart():
                # An id that comes again, as damaged journals have it, begins another execution.
                indexes[event.step_id] = len(result)
                result.append(Execution(start=event, input=outputs.get(event.input_dataclip_id)))
            case RunLog() if event.step_id in indexes:
                logs.setdefault(indexes[event.step_id], []).append(event)
            case StepComplete() if event.step_id in indexes:
                index = indexes[event.step_id]
                result[index] = replace(result[index], complete=event)
                if event.output_dataclip_id:
                    outputs[event.output_dataclip_id] = event.output_dataclip
            case _:
                pass
    return [
        replace(execution, logs=tuple(logs[index])) if index in logs else execution
        for index, execution in enumerate(result)
    ]
