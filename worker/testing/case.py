"""Scenarios: what happens in a case of a workflow, and what must come of it.

    workflow: referral.yaml
    defaults: {input: {data: {patient: {id: P-1}}}}
    cases:
      - name: an unknown patient goes to the nurse
        steps:
          fetch-patient: {fails: JobError, message: no such patient}
        expect:
          status: success
          through: [fetch-patient, alert-nurse]
          refused: [fetch-patient->upsert-record]

A step runs its real code unless the case says what it does instead: ``returns`` a state,
``fails`` with any error type of the status table, ``takes`` seconds of virtual time, ``hangs``;
for each execution (``"0"``, ``"1-2"``, ``"*"``) where they differ, counted through all the runs of
the case. A case that names a step or an edge that does not exist is stale: an error, never a real
call. What a file may hold is written down in :mod:`worker.testing.schema`, and read in
:mod:`worker.testing.cases`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.adaptors.http.stub_host import Stub
from worker.core.scripted import Script
from worker.core.status import Status
from worker.sandbox.limits import Limits
from worker.workflow.model import Workflow

SUFFIXES = (".cases.yaml", ".cases.yml", ".cases.json")

NEW_YEAR = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z in microseconds: when a case takes place that does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the executions ``first`` to ``last`` (``None``: all later ones) of a step give back;
    the real output may hold more."""

    step: str
    first: int
    last: int | None
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What is expected of a run; what is ``None`` or empty is not looked at.

    ``path`` is exact, ``through`` must be passed in this order, ``never`` not at all. ``state`` is
    a part of the final state, ``state_exact`` all of it, ``state_at`` what JSONPaths find in it.
    ``logs`` are parts of log lines. ``runs`` looks at the runs of a case one by one, in order; the
    rest looks at the last of them.
    """

    status: Status | None = None
    error_type: str | None = None
    error_message: str | None = None
    path: tuple[str, ...] | None = None
    through: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    state: Any = None
    state_exact: Any = None
    state_at: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    logs: tuple[str, ...] = ()
    runs: tuple[Expectation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """A work order whose run did not succeed is tried again, up to ``times`` times.

    Each try begins ``after_s`` seconds after the one before it ended, at ``start`` with that
    step's input of the run before, or from the start where it is empty.
    """

    times: int = 0
    after_s: float = 0.0
    start: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A cron trigger fires ``times`` times. The input of a run is the final state of the last one
    that succeeded, as on OpenFn; of the first, the input of the case."""

    expression: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scenario of a workflow, and its place in its file.

    ``at`` is when it begins, in microseconds since the epoch. ``http`` answers what adaptors
    ask for; ``credentials`` are by name. ``run_id``, where it is given, is what ids and random
    numbers are made from. ``index`` counts the cases as they are written; several from one matrix
    share it.
    """

    name: str
    workflow: Workflow
    input: Mapping[str, Any]
    script: Script
    expect: Expectation
    limits: Limits
    start: str
    end: str
    at: int = NEW_YEAR
    retry: RetryPolicy = RetryPolicy()
    schedule: Schedule | None = None
    http: tuple[Stub, ...] = ()
    credentials: Mapping[str, Any] = field(default_factory=dict)
    run_id: str = ""
    file: str = ""
    line: int = 0
    index: int = 0
