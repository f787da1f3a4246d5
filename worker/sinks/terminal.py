"""Terminal output of a run: plain lines, or a live tree of the steps."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TextIO

from worker.core.events import AnyEvent, RunComplete, RunLog, StepComplete, StepStart, cost_of
from worker.core.status import STATUS_OF_REASON, STATUSES, Status
from worker.sinks.run_summary import status_mark, summarize
from worker.sinks.terminal_text import format_effort, one_line
from worker.workflow.model import Step, Workflow

if TYPE_CHECKING:
    from rich.tree import Tree

TREE_LIMIT = 100
"""The most steps of a workflow that is shown as a tree: more would not fit a screen."""


class PlainLines:
    """Sink that writes a line for each ended step and each log line, then a summary."""

    def __init__(self, workflow: Workflow, stream: TextIO, *, debug: bool = False) -> None:
        self._workflow = workflow
        self._stream = stream
        self._debug = debug
        self._events: list[AnyEvent] = []

    def receive(self, event: AnyEvent) -> None:
        self._events.append(event)
        for line in self._lines(event):
            self._stream.write(line + "\n")
        self._stream.flush()

    def _lines(self, event: AnyEvent) -> list[str]:
        match event:
            case RunLog() if event.level != "debug" or self._debug:
                return [log_line(event)]
            case StepComplete():
                return [step_line(event)]
            case RunComplete():
                return ["", *summarize(self._workflow, self._events)]
            case _:
                return []

    def close(self) -> None:
        """Do nothing: each line is written at once."""


def log_line(event: RunLog) -> str:
    """Format as ``    job: [JOB] text``, with ``warning:`` or ``error:`` where it is one."""
    sign = {"warn": "warning: ", "error": "error: "}.get(event.level, "")
    job = f"{one_line(event.job_id, 60)}: " if event.job_id else ""
    return f"    {job}[{event.source}] {sign}{one_line(event.message, 2000)}"


def step_line(event: StepComplete) -> str:
    """Format as ``✓ job  12 ms → next``, with its cost and its error if there is one."""
    targets = f" → {', '.join(one_line(name, 60) for name in event.next)}" if event.next else ""
    error = f"  {event.error.type}: {one_line(event.error.message)}" if event.error else ""
    mark, job = status_mark(event.reason), one_line(event.job_id, 60)
    effort = format_effort(event.duration, cost_of(event))
    return f"{mark} {job}  {effort}{error}{targets}"


class LiveTree:
    """Sink that draws the workflow as a tree of steps and their statuses, below the log lines."""

    def __init__(self, workflow: Workflow, *, debug: bool = False) -> None:
        # Imported late: only this sink needs it, and it is slow to import.
        from rich.console import Console
        from rich.live import Live

        self._workflow = workflow
        self._debug = debug
        self._events: list[AnyEvent] = []
        self._running: str | None = None
        self._done: dict[str, list[StepComplete]] = defaultdict(list)
        self._console = Console(highlight=False)
        self._live = Live(self._tree(), console=self._console, refresh_per_second=12)
        self._live.start()

    def receive(self, event: AnyEvent) -> None:
        self._events.append(event)
        match event:
            case RunLog() if event.level != "debug" or self._debug:
                self._console.print(log_line(event), markup=False)
            case StepStart():
                self._running = event.job_id
            case StepComplete():
                self._running = None
                self._done[event.job_id].append(event)
            case _:
                pass
        self._live.update(self._tree(), refresh=isinstance(event, RunComplete))

    def close(self) -> None:
        self._live.stop()
        if self._events and isinstance(self._events[-1], RunComplete):
            for line in summarize(self._workflow, self._events):
                self._console.print(line, markup=False, soft_wrap=True)

    # --- the tree -------------------------------------------------------------------------------

    def _tree(self) -> Tree:
        from rich.text import Text
        from rich.tree import Tree

        tree = Tree(Text(one_line(self._workflow.name, 80), style="bold"))
        steps = {step.id: step for step in self._workflow.steps}
        drawn: set[str] = set()
        targets = {edge.target for step in steps.values() for edge in step.edges}
        roots = [step for step in self._workflow.steps if step.id not in targets]
        waiting: list[tuple[Tree, Step]] = [(tree, step) for step in reversed(roots)]
        while waiting:
            parent, step = waiting.pop()
            # A workflow is a graph: a step with several edges to it is drawn once, and then named.
            again = step.id in drawn
            branch = parent.add(self._label(step, again=again))
            drawn.add(step.id)
            if not again:
                below = [steps[edge.target] for edge in step.edges if edge.target in steps]
                waiting += [(branch, child) for child in reversed(below)]
        return tree

    def _label(self, step: Step, *, again: bool) -> Any:
        from rich.text import Text

        name = one_line(step.id, 60)
        if again:
            return Text(f"↑ {name}", style="dim")
        if not step.runs_code:
            return Text(f"◇ {name}  {step.trigger_type}".rstrip(), style="dim")
        done = self._done[step.id]
        if self._running == step.id:
            row = STATUSES[Status.RUNNING]
            return Text(f"{row.mark} {name}", style=row.color)
        if not done:
            return Text(f"· {name}", style="dim")
        last = done[-1]
        count = f"  ×{len(done)}" if len(done) > 1 else ""
        color = STATUSES[STATUS_OF_REASON[last.reason]].color
        costs = [cost for event in done if (cost := cost_of(event)) is not None]
        duration_us = sum(event.duration for event in done)
        effort = format_effort(duration_us, sum(costs) if costs else None)
        # The message too: an error that an edge handles appears nowhere else on a terminal.
        error = f"  {last.error.type}: {one_line(last.error.message, 200)}" if last.error else ""
        return Text(f"{status_mark(last.reason)} {name}  {effort}{count}{error}", style=color)
