"""How a run ended, said to a person: the status, the error and its place, what went unhandled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.core.events import AnyEvent, RunComplete, StepComplete
from worker.core.outcome import StepError
from worker.core.status import STATUS_OF_REASON, STATUSES
from worker.sinks.terminal_text import one_line, printable, seconds
from worker.workflow.model import Edge, EdgeKind, Step, Workflow

_SHOWN_STEPS = 40


def verdict(workflow: Workflow, events: Sequence[AnyEvent]) -> list[str]:
    """The lines that close the report of a run."""
    end = events[-1]
    assert isinstance(end, RunComplete)
    executions = [event for event in events if isinstance(event, StepComplete)]
    steps = {step.id: step for step in workflow.steps}
    lines = [_headline(end), *_path(executions)]
    if end.error is not None:
        lines += _error(end.error, steps)
    if end.reason == "fail":
        lines += _unhandled(executions, steps)
    return lines


def _headline(end: RunComplete) -> str:
    mark = STATUSES[end.status].mark
    return f"{mark} {end.status.value} in {seconds(end.duration)}"


def _path(executions: Sequence[StepComplete]) -> Iterator[str]:
    if not executions:
        yield "  no step ran"
        return
    shown = [f"{one_line(e.job_id, 60)} {mark(e.reason)}" for e in executions[:_SHOWN_STEPS]]
    more = len(executions) - len(shown)
    yield f"  path: {' → '.join(shown)}{f' … and {more} more' if more else ''}"


def mark(reason: str) -> str:
    """The sign of a status, by a step's reason."""
    return STATUSES[STATUS_OF_REASON[reason]].mark


def _error(error: StepError, steps: dict[str, Step]) -> Iterator[str]:
    yield f"  {error.type}: {one_line(error.message, 2000)}"
    if error.step_id in steps:
        yield f"    at {_place(error, steps[error.step_id])}"
    if error.position and error.position.source_line.strip():
        yield from _source(error)
    if error.details:
        yield f"    details: {one_line(str(dict(error.details)), 500)}"
    if error.cause is not None:
        yield f"    caused by {error.cause.type}: {one_line(error.cause.message)}"


def _place(error: StepError, step: Step) -> str:
    name = printable(step.source_file or step.id)
    where = f":{error.position.line}:{error.position.column}" if error.position else ""
    return f"{name}{where}" + (f" (step {printable(step.id)})" if step.source_file else "")


def _source(error: StepError) -> Iterator[str]:
    assert error.position is not None
    number, line = error.position.line, error.position.source_line
    before = line[: error.position.column - 1]
    margin = len(before) - 60 if len(before) > 60 else 0
    yield f"    {number:>4} | {printable(line[margin : margin + 100])}"
    yield f"    {'':>4} | {' ' * (len(printable(before)) - margin)}^"


def _unhandled(executions: Sequence[StepComplete], steps: dict[str, Step]) -> Iterator[str]:
    """The failures that led nowhere, and the edges that could have led somewhere."""
    for execution in executions:
        if execution.reason == "fail" and not execution.next:
            edges = steps[execution.job_id].edges
            reasons = "; ".join(map(_refusal, edges)) or "it has no edges"
            name = one_line(execution.job_id, 60)
            yield f"  not handled: '{name}' failed, and no edge was followed ({reasons})"


def _refusal(edge: Edge) -> str:
    target = f"→ {one_line(edge.target, 60)}"
    if edge.disabled:
        return f"{target} is disabled"
    match edge.kind:
        case EdgeKind.SUCCESS:
            return f"{target} only on success"
        case EdgeKind.EXPRESSION:
            return f"{target} only if {one_line(edge.expression, 80)}"
        case _:
            return f"{target} is never followed"
