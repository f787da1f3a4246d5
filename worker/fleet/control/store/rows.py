"""Conversion between rows of the database and records."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import RowMapping

from worker.core.status import Status
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder

_ORDER = tuple(field.name for field in fields(WorkOrder))
_RUN = tuple(field.name for field in fields(RunRecord))


def order_of(row: RowMapping) -> WorkOrder:
    values = {**row, "status": Status(row["status"])}
    values["plan_id"] = values.pop("plan")
    return WorkOrder(**values)


def run_of(row: RowMapping) -> RunRecord:
    values = {**row, "status": Status(row["status"]), "phase": RunPhase(row["phase"])}
    values["plan_id"] = values.pop("plan")
    return RunRecord(**values)


def order_row(order: WorkOrder) -> dict[str, Any]:
    row = {name: getattr(order, name) for name in _ORDER}
    row["status"] = order.status.value
    row["plan"] = row.pop("plan_id")
    return row


def run_row(run: RunRecord) -> dict[str, Any]:
    row = {name: getattr(run, name) for name in _RUN}
    row["status"], row["phase"] = run.status.value, run.phase.value
    row["plan"] = row.pop("plan_id")
    return row


def with_key(row: dict[str, Any]) -> dict[str, Any]:
    """Add the id of a row as ``key``, for an UPDATE by id."""
    # SQLAlchemy reserves the names of the columns for the new values.
    return {**row, "key": row["id"]}
