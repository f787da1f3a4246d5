"""The graph of a run's workflow, with the path that the run has taken so far."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

from worker.core.status import STATUS_OF_REASON, Status
from worker.errors import LoadError, UsageError
from worker.sinks.terminal_text import format_duration
from worker.view.graph.drawing import Annotation, Drawing, Marks, draw
from worker.view.graph.svg import picture
from worker.workflow.load import load
from worker.workflow.model import StepKind, Workflow

DRAWN = 300
"""A larger graph takes seconds to lay out, and nobody reads it on a page that changes."""
KEPT = 64

Step = Mapping[str, Any]


def marks_of(workflow: Workflow, steps: Sequence[Step]) -> Marks:
    """What became of each step (the last execution counts), and the edges that were followed."""
    several: dict[str, list[Step]] = {}
    followed: set[str] = set()
    for step in steps:
        several.setdefault(step["job_id"], []).append(step)
        followed |= {f"{step['job_id']}->{target}" for target in step.get("next") or ()}
    first = steps[0]["job_id"] if steps else None
    for one in workflow.steps:
        if one.kind is StepKind.TRIGGER:
            followed |= {edge.id for edge in one.edges if edge.target == first}
    return Marks(
        steps={id: _mark(found) for id, found in several.items()},
        edges={id: Annotation(tone="followed") for id in followed},
    )


def status_of_step(step: Step) -> Status:
    """How an execution of a step ended, or that it goes."""
    if "reason" not in step:
        return Status.RUNNING
    return STATUS_OF_REASON.get(step["reason"], Status.EXCEPTION)


def _mark(executions: Sequence[Step]) -> Annotation:
    last = executions[-1]
    times = f"{len(executions)} × " if len(executions) > 1 else ""
    took = sum(step.get("duration") or 0 for step in executions)
    error = f"{last['error_type']}: {last['error_message']}" if last.get("error_type") else ""
    return Annotation(
        tone=status_of_step(last),
        badge=f"{times}{format_duration(took)}" if "reason" in last else "runs",
        note=error[:500],
    )


class Pictures:
    """Draws graphs in a thread of its own, and keeps the last ones."""

    def __init__(self) -> None:
        # One thread: laying out sets the stack size of all new threads for a moment.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")
        self._kept: OrderedDict[Drawing, Markup | None] = OrderedDict()

    async def of(self, plan: Mapping[str, Any], steps: Sequence[Step]) -> Markup | None:
        """The picture as markup; ``None`` for a workflow that is too large to draw."""
        try:
            workflow = load(plan)
        except LoadError:
            return None
        drawing = draw(workflow, marks_of(workflow, steps))
        if len(drawing.nodes) > DRAWN:
            return None
        if drawing not in self._kept:
            loop = asyncio.get_running_loop()
            self._kept[drawing] = await loop.run_in_executor(self._thread, _drawn, drawing)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return self._kept[drawing]

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _drawn(drawing: Drawing) -> Markup | None:
    try:
        shown = ET.tostring(picture(drawing), encoding="unicode")
    except UsageError:
        return None
    return Markup(shown)  # noqa: S704 (built as a tree)
