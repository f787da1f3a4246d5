"""Annotations of a graph with the results of a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from worker.core.status import Status
from worker.sinks.terminal_text import format_duration
from worker.view.graph.drawing import Annotation, Annotations
from worker.view.report.edges import EdgeOutcome, EvaluatedEdge
from worker.view.report.executions import ReportedExecution
from worker.workflow.model import Step, Workflow

# A step may run thousands of times; a tooltip shows the first of them.
_MAX_NOTES = 8


def annotate_run(
    workflow: Workflow,
    executions: Sequence[ReportedExecution],
    evaluated: Sequence[EvaluatedEdge],
) -> Annotations:
    """Annotate steps with their status, count and total duration, and edges with their outcome."""
    by_step: dict[str, list[ReportedExecution]] = defaultdict(list)
    for execution in executions:
        by_step[execution.step].append(execution)
    by_edge: dict[str, list[EvaluatedEdge]] = defaultdict(list)
    for edge in evaluated:
        by_edge[edge.edge.id].append(edge)
    edges = {edge.id: _edge(by_edge[edge.id]) for step in workflow.steps for edge in step.edges}
    followed = [
        (step.id, edge.target)
        for step in workflow.steps
        for edge in step.edges
        if edges[edge.id].style == "followed"
    ]
    passed = {id for ends in followed for id in ends}
    return Annotations(
        steps={
            **{step.id: _without_events(step, passed) for step in workflow.steps},
            **{id: _step(executions) for id, executions in by_step.items()},
        },
        edges=edges,
    )


def _without_events(step: Step, passed: set[str]) -> Annotation:
    """Annotate a step that emitted no events: it has no code, or it was not reached."""
    is_passed = not step.runs_code and step.id in passed
    return Annotation(style="followed" if is_passed else "not-reached")


def _step(executions: list[ReportedExecution]) -> Annotation:
    # One failed execution decides the color: a later success must not hide it.
    status = next(
        (execution.status for execution in executions if execution.status is not Status.SUCCESS),
        None,
    )
    times = f"×{len(executions)} · " if len(executions) > 1 else ""
    spent = format_duration(sum(execution.spent for execution in executions))
    least = "≥ " if any(execution.open for execution in executions) else ""
    return Annotation(
        style=str(status or Status.SUCCESS),
        badge=f"{times}{least}{spent}",
        note="\n".join(_notes(executions)),
    )


def _notes(executions: list[ReportedExecution]) -> Iterator[str]:
    for number, execution in enumerate(executions[:_MAX_NOTES], start=1):
        yield f"{number}. {_describe(execution)}"
    if len(executions) > _MAX_NOTES:
        yield f"and {len(executions) - _MAX_NOTES} more"


def _describe(execution: ReportedExecution) -> str:
    error = execution.complete.error if execution.complete else None
    reason = f", {error.type}: {error.message[:200]}" if error else ""
    return f"{execution.status}{reason}"


def _edge(edges: list[EvaluatedEdge]) -> Annotation:
    outcomes = Counter(edge.outcome for edge in edges)
    followed = outcomes[EdgeOutcome.FOLLOWED] + outcomes[EdgeOutcome.WAITING]
    if not followed and not outcomes[EdgeOutcome.NOT_TAKEN]:
        return Annotation(style="not-reached")
    style = "followed" if followed else "not-taken"
    badge = f"{followed} of {len(edges)}" if len(edges) > 1 and followed else ""
    reasons = Counter(f"{edge.outcome}: {edge.reason}" for edge in edges)
    note = "\n".join(f"{reason}{f' (×{n})' if n > 1 else ''}" for reason, n in reasons.items())
    return Annotation(style=style, badge=badge, note=note)
