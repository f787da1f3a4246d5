"""Graph of a workflow with the path that a run has taken so far."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

from worker.core.status import STATUS_OF_REASON, STATUSES, Status
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


def annotate_steps(
    workflow: Workflow, steps: Sequence[Step], ended: Status | None = None
) -> Annotations:
    """Annotate steps with the status of their last execution, and edges with what became of them.

    ``ended`` is the status of a run that has ended: no step of it is still running, and what it
    did not reach is grey.
    """
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
    passed = {job_id for job_id, executions in by_step.items() if "reason" in executions[-1]}
    return Annotations(
        steps={
            **({step.id: Annotation(style="not-reached") for step in workflow.steps if ended}),
            **{id: _annotation(executions, ended) for id, executions in by_step.items()},
            **{id: Annotation(style="followed") for id in _silent(workflow, followed)},
        },
        edges={
            edge.id: Annotation(style=_edge_style(edge.id, step.id, followed, passed))
            for step in workflow.steps
            for edge in step.edges
        },
    )


def _edge_style(edge: str, source: str, followed: set[str], passed: set[str]) -> str:
    if edge in followed:
        return "followed"
    return "not-taken" if source in passed else "not-reached"


def _silent(workflow: Workflow, followed: set[str]) -> list[str]:
    """List the triggers and steps without code that a run passed: they emit no events."""
    silent = [step for step in workflow.steps if not step.runs_code]
    return [
        step.id
        for step in silent
        if any(edge.id in followed for edge in step.edges)
        or any(id.endswith(f"->{step.id}") for id in followed)
    ]


def status_of_step(step: Step) -> Status:
    if "reason" not in step:
        return Status.RUNNING
    return STATUS_OF_REASON.get(step["reason"], Status.EXCEPTION)


def _annotation(executions: Sequence[Step], ended: Status | None) -> Annotation:
    last = executions[-1]
    is_open = "reason" not in last
    times = f"{len(executions)} × " if len(executions) > 1 else ""
    took = sum(step.get("duration") or 0 for step in executions)
    error = f"{last['error_type']}: {last['error_message']}" if last.get("error_type") else ""
    return Annotation(
        style=ended if is_open and ended else status_of_step(last),
        badge=str(ended or "running") if is_open else f"{times}{format_duration(took)}",
        note=error[:500],
    )


class GraphRenderer:
    """Renders graphs in a thread of its own, and caches the last ones."""

    def __init__(self) -> None:
        # One thread: laying out sets the stack size of all new threads for a moment.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="graphs")
        self._cache: OrderedDict[Drawing, Markup | None] = OrderedDict()

    async def render(self, run: Mapping[str, Any]) -> Markup | None:
        """Return the graph of a run as markup; None for a workflow that is too large."""
        # Counted first: a run of thousands of steps is shown again each second.
        if len(run["plan"].get("workflow", {}).get("steps", ())) > MAX_NODES:
            return None
        try:
            workflow = load(run["plan"])
        except LoadError:
            return None
        status = Status(run["status"])
        ended = status if STATUSES[status].final else None
        drawing = draw(workflow, annotate_steps(workflow, run["steps"], ended))
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
        markup = ET.tostring(svg_element(drawing, heading=False), encoding="unicode")
    except UsageError:
        return None
    return Markup(markup)  # noqa: S704 (built as a tree)
