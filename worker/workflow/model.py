"""Model of a workflow as its author wrote it, independent of the file format."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Any

from msgspec import Struct, field


class EdgeKind(StrEnum):
    """Condition under which an edge is taken. Only an ``EXPRESSION`` runs code."""

    ALWAYS = "always"
    NEVER = "never"
    SUCCESS = "on_job_success"
    FAILURE = "on_job_failure"
    EXPRESSION = "expression"


class StepKind(StrEnum):
    """Kind of a step: a job runs code; a trigger only starts a run, and emits no events."""

    JOB = "job"
    TRIGGER = "trigger"


class Language(StrEnum):
    JAVASCRIPT = "javascript"
    PYTHON = "python"


class Edge(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Edge from step ``source`` to step ``target``, taken under the condition ``kind``.

    ``expression`` is JavaScript over ``state`` and ``upstreamStepId``, present exactly if ``kind``
    is ``EXPRESSION``. A disabled edge keeps its condition and is never taken. ``position`` is
    its (line, column) in the file, or (0, 0).
    """

    source: str
    target: str
    kind: EdgeKind = EdgeKind.ALWAYS
    expression: str = ""
    label: str = ""
    disabled: bool = False
    position: tuple[int, int] = (0, 0)

    @property
    def id(self) -> str:
        return f"{self.source}->{self.target}"

    @property
    def can_be_taken(self) -> bool:
        return not self.disabled and self.kind is not EdgeKind.NEVER


class Step(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Node of the graph.

    ``source`` is the job's code as written, and ``source_file`` the file that contains it (empty
    if inline). ``configuration`` is a credential's content, or the name of one. ``state`` is the
    step's default state. A job without code passes its state on and emits no events. ``cron`` is
    the schedule of a cron trigger, and ``trigger`` has other keys of triggers, which are no part
    of a plan. ``generated_id`` marks an id that is not in the file: no edge can lead to it.
    ``position`` is its (line, column) in the file, or (0, 0).
    """

    id: str
    generated_id: bool = False
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
    trigger: Mapping[str, Any] = field(default_factory=dict)
    position: tuple[int, int] = (0, 0)

    @property
    def runs_code(self) -> bool:
        return self.kind is StepKind.JOB and bool(self.source)

    @property
    def open_edges(self) -> tuple[Edge, ...]:
        """Edges that can be taken: neither disabled nor ``NEVER``."""
        return tuple([edge for edge in self.edges if edge.can_be_taken])


class LoadWarning(Struct, frozen=True, kw_only=True):
    """Problem in a file that is not an error; ``path`` is the path of the value in it.

    ``line`` and ``column`` count from 1; they are 0 if unknown. ``unknown_key`` marks a key that no
    tool of OpenFn writes.
    """

    path: str
    message: str
    unknown_key: bool = False
    line: int = 0
    column: int = 0


# What is computed of it once is kept with it (``dict``), and so no longer than it.
class Workflow(Struct, frozen=True, kw_only=True, dict=True):
    """Steps of a workflow in the order of the file, and its options.

    Neither it nor its mappings change: what follows from them is computed once, for all runs.
    ``start`` and ``end`` are the file's own options. An empty ``start`` means the first enabled
    trigger, or else the first step; an empty ``end`` means that runs do not stop early.
    ``options`` has the file's limits by OpenFn's names (``run_timeout_ms`` ...), and
    ``idempotent`` where a run that was lost may be done again. ``credentials`` are merged under the
    configuration of every step. ``globals`` is the source of a module whose exports every job can
    name.
    """

    name: str
    steps: tuple[Step, ...]
    id: str = ""
    file: str = ""
    start: str = ""
    end: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=dict)
    globals: str = ""
    warnings: tuple[LoadWarning, ...] = ()

    @cached_property
    def adaptor_lists(self) -> frozenset[tuple[str, ...]]:
        """The lists of adaptors that steps with JavaScript have, each of them once."""
        return frozenset(
            step.adaptors
            for step in self.steps
            if step.language is Language.JAVASCRIPT and step.source
        )
