"""What became of each edge: followed, refused and why, or never asked.

Steps without code and triggers emit no events: what ran behind them tells what their edges did.
"""

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
    """``waiting``: followed, but the run ended before the target's turn; ``unasked``: the run
    ended at the source; ``unknown``: the events do not tell."""

    FOLLOWED = "followed"
    REFUSED = "refused"
    WAITING = "waiting"
    UNASKED = "unasked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedEdge:
    """An edge, what became of it after one execution, and why. ``execution`` is None behind a step
    that emits no events."""

    edge: Edge
    fate: EdgeOutcome
    why: str
    execution: int | None


def judged_edges(
    workflow: Workflow, executions: Sequence[ReportedExecution], start: str = ""
) -> tuple[EvaluatedEdge, ...]:
    """Every edge of every execution, in order, then those behind steps that emit no events."""
    steps = {step.id: step for step in workflow.steps}
    reached = {(one.upstream, one.step) for one in executions}
    found = [
        _judged(steps, edge, number, one, reached)
        for number, one in enumerate(executions)
        if one.step in steps
        for edge in steps[one.step].edges
    ]
    return (*found, *_silent(workflow, steps, executions, start))


def _judged(
    steps: dict[str, Step],
    edge: Edge,
    number: int,
    one: ReportedExecution,
    reached: set[tuple[int | None, str]],
) -> EvaluatedEdge:
    fate, why = _fate(edge, one)
    target = steps.get(edge.target)
    silent = target is not None and not target.runs_code
    if fate is EdgeOutcome.FOLLOWED and not silent and (number, edge.target) not in reached:
        fate, why = EdgeOutcome.WAITING, "the run ended before it was this step's turn"
    return EvaluatedEdge(edge=edge, fate=fate, why=why, execution=number)


def _fate(edge: Edge, one: ReportedExecution) -> tuple[EdgeOutcome, str]:
    if one.complete is None:
        return EdgeOutcome.UNKNOWN, "the events stop before this is known"
    if edge.target in one.next:
        return EdgeOutcome.FOLLOWED, _because(edge)
    if one.status not in (Status.SUCCESS, Status.FAILED):
        return EdgeOutcome.UNASKED, f"no edge is followed when a step is {one.status}"
    return EdgeOutcome.REFUSED, refusal(edge)


def _because(edge: Edge) -> str:
    match edge.kind:
        case EdgeKind.SUCCESS:
            return "the step left no error"
        case EdgeKind.FAILURE:
            return "the step left an error"
        case EdgeKind.EXPRESSION:
            return "its condition held"
        case _:
            return "it is always followed"


def refusal(edge: Edge) -> str:
    """Why an edge that was asked was not followed."""
    if edge.disabled:
        return "it is disabled"
    match edge.kind:
        case EdgeKind.SUCCESS:
            return "only on success, and the step left an error"
        case EdgeKind.FAILURE:
            return "only on failure, and the step left no error"
        case EdgeKind.EXPRESSION:
            return "its condition did not hold"
        case _:
            return "it is never followed"


# --- steps that emit no events --------------------------------------------------------------------


def _silent(
    workflow: Workflow, steps: dict[str, Step], executions: Sequence[ReportedExecution], start: str
) -> list[EvaluatedEdge]:
    """The edges of triggers and steps without code that the run came through."""
    passed: dict[str, None] = {}
    followed: set[str] = set()
    first = _start(workflow, start)
    for one in executions:
        if one.upstream is None:
            entries = [first] if first else []
        else:
            entries = list(executions[one.upstream].next)
        way = _way(steps, entries, one.step)
        passed |= dict.fromkeys(way)
        followed |= {f"{a}->{b}" for a, b in pairwise([*way, one.step])}
    passed |= dict.fromkeys(target for one in executions for target in one.next)
    return [
        _judged_silent(edge, edge.id in followed)
        for id in passed
        if id in steps and not steps[id].runs_code
        for edge in steps[id].edges
    ]


def _judged_silent(edge: Edge, followed: bool) -> EvaluatedEdge:
    if followed:
        fate, why = EdgeOutcome.FOLLOWED, _because(edge)
    elif edge.can_be_taken and edge.kind in (EdgeKind.ALWAYS, EdgeKind.SUCCESS):
        fate, why = EdgeOutcome.WAITING, "nothing behind it ran"
    else:
        fate, why = EdgeOutcome.REFUSED, refusal(edge)
    return EvaluatedEdge(edge=edge, fate=fate, why=why, execution=None)


def _start(workflow: Workflow, start: str) -> str:
    """The step that the walk begins at; empty where the workflow could not run."""
    try:
        return compile_plan(workflow, start=start).start
    except PlanError:
        return ""


def _way(steps: dict[str, Step], entries: Sequence[str], target: str) -> list[str]:
    """The shortest way through steps without code to a step, without it; empty where it is an
    entry, or cannot be reached so."""
    if target in entries:
        return []
    ways = deque([one] for one in entries if one in steps and not steps[one].runs_code)
    seen = {way[0] for way in ways}
    while ways:
        way = ways.popleft()
        for edge in steps[way[-1]].open_edges:
            if edge.target == target:
                return way
            if edge.target not in seen and edge.target in steps:
                seen.add(edge.target)
                if not steps[edge.target].runs_code:
                    ways.append([*way, edge.target])
    return []
