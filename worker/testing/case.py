"""Data model of a case: the workflow, the script of its steps, and the expected runs.

    workflow: referral.yaml
    defaults: {input: {data: {patient: {id: P-1}}}}
    cases:
      - name: an unknown patient goes to the nurse
        steps:
          fetch-patient: {fails: JobError, message: no such patient}
        expect:
          status: success
          through: [fetch-patient, alert-nurse]
          not_taken: [fetch-patient->upsert-record]

A step runs its real code unless the case scripts it: ``returns`` a state, ``fails`` with any error
type of the status table, ``takes`` seconds of virtual time, ``hangs``. A script may differ by
execution (``"0"``, ``"1-2"``, ``"*"``), counted through all runs of the case. A case that names a
step or an edge that does not exist is stale: an error, never a real call.

:mod:`worker.testing.case_keys` holds the keys of a file, :mod:`worker.testing.case_reader` reads
it, and :mod:`worker.testing.json_schema` describes it to editors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from worker.adaptors.http.stub_host import Stub
from worker.core.scripted import Script
from worker.core.status import Status
from worker.sandbox.limits import Limits
from worker.testing.case_trigger import FIRED, ExpectedResponse, TriggerStart
from worker.testing.cost_bound import CostBound
from worker.workflow.model import Workflow

SUFFIXES = (".cases.yaml", ".cases.yml", ".cases.json")

# 2026-01-01T00:00:00Z. A fixed moment, so that a case without `at` is the same run every day.
DEFAULT_START_US = 1_767_225_600_000_000


def moment_us(at: datetime | str) -> int:
    """Return a time, or its text in ISO 8601, in microseconds since the epoch.

    Raises :class:`ValueError` for another text.
    """
    moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    # UTC, not the zone of this machine: a case is the same run wherever it is executed.
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedOutput:
    """Part of the output of the executions ``first`` to ``last`` of a step.

    ``last`` is ``None`` for all executions from ``first`` on. The real output may hold more than
    ``value``.
    """

    step: str
    first: int
    last: int | None
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Expected end, path, edges and states of a run; what is ``None`` or empty is not checked.

    ``path`` is exact, ``through`` must be passed in this order, ``never`` not at all. ``taken``
    and ``not_taken`` are ids of edges (``a->b``). ``state`` is a part of the final state,
    ``state_exact`` all of it, ``state_at`` the values at JSONPaths. ``logs`` are parts of log
    lines, ``collections`` parts of the collections after all runs. ``cost`` bounds the
    instructions of a run, ``costs`` those of all executions of a step. ``runs`` are checked against
    the runs of a case one by one, in order; everything else is checked against the last of them.
    ``trigger`` is the outcome of the case's trigger, ``response`` that of a call.
    """

    status: Status | None = None
    error_type: str | None = None
    error_message: str | None = None
    path: tuple[str, ...] | None = None
    through: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    not_taken: tuple[str, ...] = ()
    state: Any = None
    state_exact: Any = None
    state_at: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[ExpectedOutput, ...] = ()
    logs: tuple[str, ...] = ()
    collections: Mapping[str, Any] = field(default_factory=dict)
    cost: CostBound | None = None
    costs: Mapping[str, CostBound] = field(default_factory=dict)
    runs: tuple[Expectation, ...] = ()
    trigger: str = FIRED
    response: ExpectedResponse | None = None

    @property
    def has_cost(self) -> bool:
        """True where instructions have to be counted."""
        return bool(self.cost or self.costs) or any(run.has_cost for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Retries of a work order whose run did not succeed, up to ``times``.

    Each retry begins ``after_s`` seconds after the run before it ended: at the step ``start_at``
    with the input that this step had, or at the start of the workflow where it is empty.
    """

    times: int = 0
    after_s: float = 0.0
    start_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CronSchedule:
    """A cron trigger that fires ``times`` times, in an IANA time zone.

    As on OpenFn, the input of a run is the final state of the last run that succeeded. The first
    run gets the input of the case.
    """

    expression: str
    times: int
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scenario of a workflow, with its position in its file.

    ``begins_at_us`` is its virtual start, in microseconds since the epoch. ``start_at`` and
    ``stop_after`` are steps. ``http`` holds the stubbed replies to requests of adaptors;
    ``credentials`` are by name, ``collections`` by name and key. ``run_id``, where it is not empty,
    seeds ids and random numbers. ``fuel`` counts the instructions of the runs. ``index`` is the
    position among the cases of the file; the cases of one matrix share it. ``trigger`` is what
    starts the case, with the input that it makes.
    """

    name: str
    workflow: Workflow
    input: Mapping[str, Any]
    script: Script
    expect: Expectation
    limits: Limits
    start_at: str
    stop_after: str
    begins_at_us: int = DEFAULT_START_US
    retry: RetryPolicy = RetryPolicy()
    schedule: CronSchedule | None = None
    trigger: TriggerStart | None = None
    http: tuple[Stub, ...] = ()
    credentials: Mapping[str, Any] = field(default_factory=dict)
    collections: Mapping[str, Mapping[str, Any]] | None = None
    run_id: str = ""
    fuel: bool = False
    file: str = ""
    line: int = 0
    index: int = 0
