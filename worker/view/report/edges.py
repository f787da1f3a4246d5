"""Outcomes of edges: followed, not taken, or not evaluated, with the reason."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from worker.core.compile_plan import compile_plan
from worker.core.status import Status
from worker.errors import PlanError
from worker.view.report.executions import ReportedExecution
from worker.workflow.model import Edge, EdgeKind, Step, Workflow


class EdgeOutcome(StrEnum):
    """Outcome of an edge after an execution of its source.

    ``waiting``: followed, but the run ended before the target ran. ``not evaluated``: the run ended
    at the source. ``unknown``: the events do not contain it.
    """

    FOLLOWED = "followed"
    NOT_TAKEN = "not taken"
    WAITING = "waiting"
    NOT_EVALUATED = "not evaluated"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedEdge:
    """Edge with its outcome and the reason. ``execution`` is None after a step without events."""

    edge: Edge
    outcome: EdgeOutcome
    reason: str
    execution: int | None


def evaluate_edges(
    workflow: Workflow, executions: Sequence[ReportedExecution], start: str = ""
) -> tuple[EvaluatedEdge, ...]:
    """Evaluate every edge of every execution, then those after steps that emit no events."""
    steps = {step.id: step for step in workflow.steps}
    reached = {(execution.upstream, execution.step) for execution in executions}
    evaluated = [
        _evaluate(steps, edge, number, execution, reached)
        for number, execution in enumerate(executions)
        if execution.step in steps
        for edge in steps[execution.step].edges
    ]
    return (*evaluated, *_silent(workflow, steps, executions, start))


def _evaluate(
    steps: dict[str, Step],
    edge: Edge,
    number: int,
    execution: ReportedExecution,
    reached: set[tuple[int | None, str]],
) -> EvaluatedEdge:
    outcome, reason = _outcome(edge, execution)
    target = steps.get(edge.target)
    # A target without code emits no event, so that it did not run is not evidence.
    silent = target is not None and not target.runs_code
    if outcome is EdgeOutcome.FOLLOWED and not silent and (number, edge.target) not in reached:
        outcome, reason = EdgeOutcome.WAITING, "the run ended before this step ran"
    return EvaluatedEdge(edge=edge, outcome=outcome, reason=reason, execution=number)


def _outcome(edge: Edge, execution: ReportedExecution) -> tuple[EdgeOutcome, str]:
    if execution.complete is None:
        return EdgeOutcome.UNKNOWN, "the events end before the evaluation"
    if edge.target in execution.next:
        return EdgeOutcome.FOLLOWED, _reason_followed(edge)
    if execution.status not in (Status.SUCCESS, Status.FAILED):
        return EdgeOutcome.NOT_EVALUATED, f"no edge is followed when a step is {execution.status}"
    return EdgeOutcome.NOT_TAKEN, reason_not_taken(edge)


def _reason_followed(edge: Edge) -> str:
    match edge.kind:
        case EdgeKind.SUCCESS:
            return "the step left no error"
        case EdgeKind.FAILURE:
            return "the step left an error"
        case EdgeKind.EXPRESSION:
            return "its condition was true"
        case _:
            return "it is always followed"


def reason_not_taken(edge: Edge) -> str:
    if edge.disabled:
        return "it is disabled"
    match edge.kind:
        case EdgeKind.SUCCESS:
            return "only on success, and the step left an error"
        case EdgeKind.FAILURE:
            return "only on failure, and the step left no error"
        case EdgeKind.EXPRESSION:
            return "its condition was false"
        case _:
            return "it is never followed"


# --- steps that emit no events --------------------------------------------------------------------


def _silent(
    workflow: Workflow, steps: dict[str, Step], executions: Sequence[ReportedExecution], start: str
) -> list[EvaluatedEdge]:
    """Evaluate the edges of triggers and steps without code that the run passed."""
    # These steps emit no events: the outcome follows from the steps that ran after them.
    passed: dict[str, None] = {}
    followed: set[str] = set()
    first = _start(workflow, start)
    for execution in executions:
        if execution.upstream is None:
            entries = [first] if first else []
        else:
            entries = list(executions[execution.upstream].next)
        path = _path(steps, entries, execution.step)
        passed |= dict.fromkeys(path)
        followed |= {f"{a}->{b}" for a, b in pairwise([*path, execution.step])}
    passed |= dict.fromkeys(target for execution in executions for target in execution.next)
    return [
        _evaluate_silent(edge, edge.id in followed)
        for id in passed
        if id in steps and not steps[id].runs_code
        for edge in steps[id].edges
    ]


def _evaluate_silent(edge: Edge, followed: bool) -> EvaluatedEdge:
    if followed:
        outcome, reason = EdgeOutcome.FOLLOWED, _reason_followed(edge)
    elif edge.can_be_taken and edge.kind in (EdgeKind.ALWAYS, EdgeKind.SUCCESS):
        outcome, reason = EdgeOutcome.WAITING, "no step after it ran"
    else:
        outcome, reason = EdgeOutcome.NOT_TAKEN, reason_not_taken(edge)
    return EvaluatedEdge(edge=edge, outcome=outcome, reason=reason, execution=None)


def _start(workflow: Workflow, start: str) -> str:
    """Return the id of the start step; empty for a workflow that cannot run."""
    try:
        return compile_plan(workflow, start=start).start
    except PlanError:
        return ""


def _path(steps: dict[str, Step], entries: Sequence[str], target: str) -> list[str]:
    """Find the shortest path through steps without code to a step.

    The path does not contain the target; it is empty where the target is an entry or unreachable.
    """
    if target in entries:
        return []
    paths = deque([id] for id in entries if id in steps and not steps[id].runs_code)
    # Paths may have cycles: the workflow is not checked.
    seen = {path[0] for path in paths}
    while paths:
        path = paths.popleft()
        for edge in steps[path[-1]].open_edges:
            if edge.target == target:
                return path
            if edge.target not in seen and edge.target in steps:
                seen.add(edge.target)
                if not steps[edge.target].runs_code:
                    paths.append([*path, edge.target])
    return []
