"""Conversion between rows of the database and records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec.structs import asdict

from worker.core.status import Status
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder
from worker.fleet.control.row_invariants import problem_of_order, problem_of_run
from worker.fleet.control.store import tables
from worker.fleet.control.store.prepared import Row
from worker.util import invariant_checks
from worker.util.invariant_checks import Invariant

T = TypeVar("T")
_ORDER_COLUMNS = tuple(column.name for column in tables.ORDERS.c)
_RUN_COLUMNS = tuple(column.name for column in tables.RUNS.c)
WORKER_COLUMNS = tuple(column.name for column in tables.WORKERS.c)


def order_of(row: Row) -> WorkOrder:
    values = dict(zip(_ORDER_COLUMNS, row, strict=True))
    values["status"] = Status(values["status"])
    values["plan_id"] = values.pop("plan")
    order = WorkOrder(**values)
    invariant_checks.note(Invariant.ROW_READ, problem_of_order(order))
    return order


def run_of(row: Row) -> RunRecord:
    values = dict(zip(_RUN_COLUMNS, row, strict=True))
    values["status"], values["phase"] = Status(values["status"]), RunPhase(values["phase"])
    values["plan_id"] = values.pop("plan")
    run = RunRecord(**values)
    invariant_checks.note(Invariant.ROW_READ, problem_of_run(run))
    return run


def check_order(before: WorkOrder | None, after: WorkOrder) -> None:
    """Check an order before it is written. Raises :class:`InvariantError`."""
    _check(problem_of_order, before, after)


def check_run(before: RunRecord | None, after: RunRecord) -> None:
    """Check a run before it is written. Raises :class:`InvariantError`."""
    _check(problem_of_run, before, after)


def _check(problem_of: Callable[[T], str], before: T | None, after: T) -> None:
    if problem := problem_of(after):
        # A row that was broken before is none that this transaction breaks: it must not stop it.
        was_broken = before is not None and problem_of(before)
        check = invariant_checks.note if was_broken else invariant_checks.require
        check(Invariant.ROW_WRITTEN, problem)


def order_row(order: WorkOrder) -> dict[str, Any]:
    row = asdict(order)
    row["status"] = order.status.value
    row["plan"] = row.pop("plan_id")
    return row


def run_row(run: RunRecord) -> dict[str, Any]:
    row = asdict(run)
    row["status"], row["phase"] = run.status.value, run.phase.value
    row["plan"] = row.pop("plan_id")
    return row


def changed_values(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that have other values than before."""
    return {name: value for name, value in after.items() if before[name] != value}
