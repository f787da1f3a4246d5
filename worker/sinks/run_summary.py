"""Summary of a run for a person: status, path, error with its position, unhandled failures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.core.events import AnyEvent, RunComplete, StepComplete, cost_of
from worker.core.execution import executions
from worker.core.outcome import StepError
from worker.core.status import STATUS_OF_REASON, STATUSES
from worker.sinks.terminal_text import excerpt, format_effort, one_line, printable
from worker.workflow.model import Edge, EdgeKind, Step, Workflow

# A loop can make a path of thousands of executions; this much of it still fits a screen.
_PATH_LIMIT = 40


def summarize(workflow: Workflow, events: Sequence[AnyEvent]) -> list[str]:
    """Describe how the run ended, in lines; the last event must be ``run:complete``."""
    end = events[-1]
    assert isinstance(end, RunComplete)
    completed = [run.complete for run in executions(events) if run.complete is not None]
    steps = {step.id: step for step in workflow.steps}
    lines = [_headline(end), *_path(completed)]
    if end.error is not None:
        lines += _error(end.error, workflow)
    if end.reason == "fail":
        lines += _unhandled(completed, steps)
    return lines


def _headline(end: RunComplete) -> str:
    effort = format_effort(end.duration, cost_of(end))
    return f"{STATUSES[end.status].mark} {end.status.value} in {effort}"


def _path(completed: Sequence[StepComplete]) -> Iterator[str]:
    walked = walked_path(completed)
    yield f"  path: {walked}" if walked else "  no step ran"


def walked_path(completed: Sequence[StepComplete]) -> str:
    """Return the first executions with their outcomes as one line; empty if there are none."""
    first = completed[:_PATH_LIMIT]
    names = [f"{one_line(e.job_id, 60)} {status_mark(e.reason)}" for e in first]
    walked = join_path(names, [e.job_id for e in first], [e.next for e in first])
    more = len(completed) - len(first)
    return f"{walked}{f' … and {more} more' if more else ''}"


def join_path(
    names: Sequence[str], steps: Sequence[str], following: Sequence[Sequence[str]]
) -> str:
    """Join the names of executions, with an arrow where an edge led from one to the next."""
    # Branches of a graph run one after the other, without an edge between their steps.
    signs = [
        " → " if step in edges else ", " for step, edges in zip(steps[1:], following, strict=False)
    ]
    return "".join(map("".join, zip(["", *signs], names, strict=False)))


def status_mark(reason: str) -> str:
    return STATUSES[STATUS_OF_REASON[reason]].mark


def _error(error: StepError, workflow: Workflow) -> Iterator[str]:
    yield f"  {error.type}: {one_line(error.message, 2000)}"
    yield from _place(error, workflow)
    cause = error.cause
    while cause is not None:
        yield f"    caused by {cause.type}: {one_line(cause.message)}"
        yield from _place(cause, workflow)
        cause = cause.cause


def _place(error: StepError, workflow: Workflow) -> Iterator[str]:
    step = next((step for step in workflow.steps if step.id == error.job_id), None)
    edge = edge_of(error, step) if step is not None else None
    if edge is not None:
        yield f"    at {_edge_location(edge, workflow.file)}: {one_line(edge.expression, 200)}"
    elif step is not None:
        yield f"    at {_location(error, step)}"
    if error.position and error.position.source_line.strip():
        place = error.position
        yield from excerpt(place.line, place.column, place.source_line)
    if error.details:
        yield f"    details: {one_line(str(dict(error.details)), 500)}"


def edge_of(error: StepError, step: Step) -> Edge | None:
    """Return the edge of ``step`` whose condition threw ``error``; None for other errors."""
    if error.type != "EdgeConditionError":
        return None
    start = "the condition of {} "
    edges = (edge for edge in step.edges if error.message.startswith(start.format(edge.id)))
    # The id of one edge can be the beginning of another's: `a->b` and `a->b c`.
    return max(edges, key=lambda edge: len(edge.id), default=None)


def _edge_location(edge: Edge, file: str) -> str:
    line, column = edge.position
    name = f"edge {printable(edge.id)}"
    return f"{printable(file)}:{line}:{column} ({name})" if file and line else name


def _location(error: StepError, step: Step) -> str:
    name = printable(step.source_file or step.id)
    position = f":{error.position.line}:{error.position.column}" if error.position else ""
    return f"{name}{position}" + (f" (step {printable(step.id)})" if step.source_file else "")


def _unhandled(completed: Sequence[StepComplete], steps: dict[str, Step]) -> Iterator[str]:
    """List the failures that no edge handled, with the reason of every edge."""
    for execution in completed:
        if execution.reason == "fail" and not execution.next:
            edges = steps[execution.job_id].edges
            reasons = "; ".join(map(_not_taken, edges)) or "it has no edges"
            name = one_line(execution.job_id, 60)
            yield f"  not handled: '{name}' failed, and no edge was followed ({reasons})"


def _not_taken(edge: Edge) -> str:
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
