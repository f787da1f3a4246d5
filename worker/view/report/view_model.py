"""View model of a report: the page's script shows this data and nothing else.

Executions, states and runs refer to each other by index. Times are formatted texts; ``start_us``
and ``end_us`` are microseconds since the start of the run, for the bars.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.view.report.dataclips import EmbeddedDataclip


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """Step of the workflow; ``source`` is empty where it is unknown."""

    id: str
    name: str
    adaptors: str
    file: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """Line of source code; ``caret`` is the column (from 1) to mark, or 0."""

    number: int
    text: str
    caret: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorView:
    type: str
    message: str
    place: str
    lines: tuple[SourceLine, ...]
    notes: tuple[str, ...]
    stack: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeView:
    """Edge after an execution; see :class:`~worker.view.report.edges.EvaluatedEdge`."""

    target: str
    label: str
    condition: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    """Execution of a step.

    ``input`` and ``output`` are indexes of states, or None with the reason in ``no_input`` and
    ``no_output``. ``turn`` is the number of the step's execution, from 1 to ``turns``.
    """

    step: str
    name: str
    turn: int
    turns: int
    status: str
    mark: str
    start_us: int
    end_us: int
    began: str
    took: str
    memory: str
    cost: str
    upstream: int | None
    input: int | None
    no_input: str
    output: int | None
    no_output: str
    edges: tuple[EdgeView, ...]
    error: ErrorView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """Line of the log; ``execution`` is None outside of a step."""

    at: str
    execution: int | None
    step: str
    source: str
    level: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """Run of a report.

    ``headline`` and ``summary`` are the lines that the terminal shows at the end of a run.
    ``notes`` list what is unknown and what could not be read.
    """

    name: str
    workflow: str
    run_id: str
    status: str
    mark: str
    headline: str
    summary: tuple[str, ...]
    began: str
    duration_us: int
    notes: tuple[str, ...]
    steps: tuple[StepView, ...]
    executions: tuple[ExecutionView, ...]
    logs: tuple[LogView, ...]
    clips: tuple[EmbeddedDataclip, ...]
    final: int | None
    no_final: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """Row of the timeline: the matching execution of each run, or None."""

    executions: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstDifference:
    """First difference of two runs; ``row`` is None where it is at no execution."""

    message: str
    row: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """Report of one run, or of two with their first difference."""

    runs: tuple[RunView, ...]
    rows: tuple[TimelineRow, ...]
    first: FirstDifference | None
