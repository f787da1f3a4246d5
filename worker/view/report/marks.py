"""A run on its graph: how each step ended, and which edges were followed and refused."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from worker.core.status import Status
from worker.sinks.terminal_text import format_duration
from worker.view.graph.drawing import Annotation, Marks
from worker.view.report.edges import EdgeOutcome, EvaluatedEdge
from worker.view.report.executions import ReportedExecution

_NOTED = 8


def marks_of(executions: Sequence[ReportedExecution], judged: Sequence[EvaluatedEdge]) -> Marks:
    """A step's badge is how often it ran and how long it took in all; the note of a refused edge
    says why."""
    by_step: dict[str, list[ReportedExecution]] = defaultdict(list)
    for one in executions:
        by_step[one.step].append(one)
    by_edge: dict[str, list[EvaluatedEdge]] = defaultdict(list)
    for verdict in judged:
        by_edge[verdict.edge.id].append(verdict)
    edges = {id: _edge(several) for id, several in by_edge.items()}
    return Marks(
        steps={id: _step(several) for id, several in by_step.items()},
        edges={id: mark for id, mark in edges.items() if mark is not None},
    )


def _step(several: list[ReportedExecution]) -> Annotation:
    status = next((one.status for one in several if one.status is not Status.SUCCESS), None)
    times = f"×{len(several)} · " if len(several) > 1 else ""
    spent = format_duration(sum(one.spent for one in several))
    least = "≥ " if any(one.open for one in several) else ""
    notes = [f"{number}. {_told(one)}" for number, one in enumerate(several[:_NOTED], start=1)]
    more = [f"and {len(several) - _NOTED} more"] if len(several) > _NOTED else []
    return Annotation(
        tone=str(status or Status.SUCCESS),
        badge=f"{times}{least}{spent}",
        note="\n".join([*notes, *more]),
    )


def _told(one: ReportedExecution) -> str:
    error = one.complete.error if one.complete else None
    why = f", {error.type}: {error.message[:200]}" if error else ""
    return f"{one.status}{why}"


def _edge(several: list[EvaluatedEdge]) -> Annotation | None:
    fates = Counter(one.fate for one in several)
    followed = fates[EdgeOutcome.FOLLOWED] + fates[EdgeOutcome.WAITING]
    if not followed and not fates[EdgeOutcome.REFUSED]:
        return None
    tone = "followed" if followed else "refused"
    badge = f"{followed} of {len(several)}" if len(several) > 1 and followed else ""
    whys = Counter(f"{one.fate}: {one.why}" for one in several)
    note = "\n".join(f"{why}{f' (×{n})' if n > 1 else ''}" for why, n in whys.items())
    return Annotation(tone=tone, badge=badge, note=note)
