"""A workflow as its author wrote it, whatever the file format was.

What travels to a run's process (edges, steps, plans, jobs) has no slots: a slotted dataclass is
pickled field by field in Python, which a plan of thousands of steps would feel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class EdgeKind(StrEnum):
    """When an edge is followed. Only an ``EXPRESSION`` runs code."""

    ALWAYS = "always"
    NEVER = "never"
    SUCCESS = "on_job_success"
    FAILURE = "on_job_failure"
    EXPRESSION = "expression"


class StepKind(StrEnum):
    """A job runs code; a trigger only starts the walk, and emits no events."""

    JOB = "job"
    TRIGGER = "trigger"


class Language(StrEnum):
    JAVASCRIPT = "javascript"
    PYTHON = "python"


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One rule of the workflow: from ``source``, go to ``target`` when ``kind`` says so.

    ``expression`` is JavaScript over ``state`` and ``upstreamStepId``, present exactly when
    ``kind`` is ``EXPRESSION``. A disabled edge keeps its condition and is never followed.
    ``place`` is its (line, column) in the file, or (0, 0).
    """

    source: str
    target: str
    kind: EdgeKind = EdgeKind.ALWAYS
    expression: str = ""
    label: str = ""
    disabled: bool = False
    place: tuple[int, int] = (0, 0)

    @property
    def id(self) -> str:
        return f"{self.source}->{self.target}"

    @property
    def followable(self) -> bool:
        return not self.disabled and self.kind is not EdgeKind.NEVER


@dataclass(frozen=True, kw_only=True)
class Step:
    """A node of the graph.

    ``source`` is the job's code as written and ``source_file`` the file that it came from (empty
    when inline). ``configuration`` is a credential's content, or the name of one. ``state`` is the
    step's default state. A job without code passes its state on and emits no events. ``cron`` is
    the schedule of a cron trigger. ``place`` is its (line, column) in the file, or (0, 0).
    """

    id: str
    name: str = ""
    kind: StepKind = StepKind.JOB
    language: Language = Language.JAVASCRIPT
    adaptors: tuple[str, ...] = ()
    source: str = ""
    source_file: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] | str | None = None
    edges: tuple[Edge, ...] = ()
    trigger_type: str = ""
    cron: str = ""
    place: tuple[int, int] = (0, 0)

    @property
    def runs_code(self) -> bool:
        return self.kind is StepKind.JOB and bool(self.source)

    @property
    def open_edges(self) -> tuple[Edge, ...]:
        """The edges that can be followed at all."""
        return tuple(edge for edge in self.edges if edge.followable)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadWarning:
    """Something in a file that is not an error; ``path`` is the place inside the file."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """The steps in the order of the file, and where a run starts by default.

    ``start`` and ``end`` are the file's own options (empty: the first trigger that is enabled, or
    the first step; to the end). ``input`` is the input that the file itself carries, if it does.
    ``options`` keeps the file's limits by OpenFn's names (``run_timeout_ms`` ...).
    """

    name: str
    steps: tuple[Step, ...]
    id: str = ""
    file: str = ""
    start: str = ""
    end: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[LoadWarning, ...] = ()
