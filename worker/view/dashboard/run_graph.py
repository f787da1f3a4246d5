"""Graph of a workflow with the path that a run has taken so far."""

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
from worker.view.graph.drawing import Annotation, Annotations, Drawing, draw
from worker.view.graph.svg import svg_element
from worker.workflow.load import load
from worker.workflow.model import StepKind, Workflow

# A larger graph takes seconds to lay out, and the page changes every second.
MAX_NODES = 300
CACHE_SIZE = 64

# Entries of ``steps`` in the control plane's view of a run.
Step = Mapping[str, Any]


def annotate_steps(workflow: Workflow, steps: Sequence[Step]) -> Annotations:
    """Annotate steps with the status of their last execution, and the edges that were followed."""
    by_step: dict[str, list[Step]] = {}
    followed: set[str] = set()
    for step in steps:
        by_step.setdefault(step["job_id"], []).append(step)
        followed |= {f"{step['job_id']}->{target}" for target in step.get("next") or ()}
    first = steps[0]["job_id"] if steps else None
    # Triggers emit no events: the first step that ran shows the edge that was followed.
    for node in workflow.steps:
        if node.kind is StepKind.TRIGGER:
            followed |= {edge.id for edge in node.edges if edge.target == first}
    return Annotations(
        steps={id: _annotation(executions) for id, executions in by_step.items()},
        edges={id: Annotation(style="followed") for id in followed},
    )


def status_of_step(step: Step) -> Status:
    if "reason" not in step:
        return Status.RUNNING
    return STATUS_OF_REASON.get(step["reason"], Status.EXCEPTION)


def _annotation(executions: Sequence[Step]) -> Annotation:
    last = executions[-1]
    times = f"{len(executions)} × " if len(executions) > 1 else ""
    took = sum(step.get("duration") or 0 for step in executions)
    error = f"{last['error_type']}: {last['error_message']}" if last.get("error_type") else ""
    return Annotation(
        style=status_of_step(last),
        badge=f"{times}{format_duration(took)}" if "reason" in last else "running",
        note=error[:500],
    )


class GraphRenderer:
    """Renders graphs in a thread of its own, and caches the last ones."""

    def __init__(self) -> None:
        # One thread: laying out sets the stack size of all new threads for a moment.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="graphs")
        self._cache: OrderedDict[Drawing, Markup | None] = OrderedDict()

    async def render(self, plan: Mapping[str, Any], steps: Sequence[Step]) -> Markup | None:
        """Return the graph as markup; None for a workflow that is too large."""
        try:
            workflow = load(plan)
        except LoadError:
            return None
        drawing = draw(workflow, annotate_steps(workflow, steps))
        if len(drawing.nodes) > MAX_NODES:
            return None
        if drawing not in self._cache:
            loop = asyncio.get_running_loop()
            self._cache[drawing] = await loop.run_in_executor(self._thread, _render, drawing)
            # Several browsers show the same run, and a retry shows the same graph again.
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return self._cache[drawing]

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def _render(drawing: Drawing) -> Markup | None:
    try:
        markup = ET.tostring(svg_element(drawing), encoding="unicode")
    except UsageError:
        return None
    return Markup(markup)  # noqa: S704 (built as a tree)
