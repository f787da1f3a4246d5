"""Between rows and what the rules work on."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import RowMapping

from worker.core.status import Status
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder

_ORDER = tuple(field.name for field in fields(WorkOrder))
_RUN = tuple(field.name for field in fields(RunRecord))


def order_of(row: RowMapping) -> WorkOrder:
    return WorkOrder(**{**row, "status": Status(row["status"])})


def run_of(row: RowMapping) -> RunRecord:
    return RunRecord(**{**row, "status": Status(row["status"]), "phase": RunPhase(row["phase"])})


def order_row(order: WorkOrder) -> dict[str, Any]:
    row = {name: getattr(order, name) for name in _ORDER}
    row["status"] = order.status.value
    return row


def run_row(run: RunRecord) -> dict[str, Any]:
    row = {name: getattr(run, name) for name in _RUN}
    row["status"], row["phase"] = run.status.value, run.phase.value
    return row


def keyed(row: dict[str, Any]) -> dict[str, Any]:
    """A row for an UPDATE by id: SQLAlchemy keeps the columns' own names for the values."""
    return {**row, "key": row["id"]}
