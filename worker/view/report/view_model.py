"""What a report shows, as plain data: the page's script draws nothing that does not stand here.

Executions, states and runs name each other by their places in these tuples. Times are texts as
people say them; ``at`` and ``until`` are microseconds from the beginning of the run, for the bars.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.view.report.dataclips import EmbeddedDataclip


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """A step of the workflow; ``source`` is empty where it is not known."""

    id: str
    name: str
    adaptors: str
    file: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """A line of an author's source; ``caret`` is the column (from 1) to point at, or 0."""

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
    """An edge after one execution: ``fate`` and ``why`` are those of :class:`Judged`."""

    target: str
    label: str
    condition: str
    fate: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionView:
    """``input`` and ``output`` are places of states; None with the reason in ``no_input`` and
    ``no_output``. ``turn`` counts the step's executions from 1, ``turns`` is how many there are."""

    step: str
    name: str
    turn: int
    turns: int
    status: str
    mark: str
    at: int
    until: int
    began: str
    took: str
    memory: str
    upstream: int | None
    input: int | None
    no_input: str
    output: int | None
    no_output: str
    edges: tuple[EdgeView, ...]
    error: ErrorView | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """``execution`` is None for a line outside of a step."""

    at: str
    execution: int | None
    step: str
    source: str
    level: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """``verdict`` are the lines that close a run on the terminal, less the first, which is the
    ``headline``; ``notes`` say what is not known, and what could not be read."""

    name: str
    workflow: str
    run_id: str
    status: str
    mark: str
    headline: str
    verdict: tuple[str, ...]
    began: str
    span: int
    notes: tuple[str, ...]
    steps: tuple[StepView, ...]
    executions: tuple[ExecutionView, ...]
    logs: tuple[LogView, ...]
    clips: tuple[EmbeddedDataclip, ...]
    final: int | None
    no_final: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRow:
    """The executions that belong together, one of each run, or None."""

    executions: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first difference; ``row`` is None where it is at no execution."""

    message: str
    row: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportView:
    """One run, or two to be compared, with what the first difference is."""

    runs: tuple[RunView, ...]
    rows: tuple[GraphRow, ...]
    first: First | None
