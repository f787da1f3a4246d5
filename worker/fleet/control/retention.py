"""Retention: deletes orders that ended long ago, with all rows of their runs, and old actions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, select

from worker.core.status import STATUSES
from worker.fleet.control.store import tables
from worker.fleet.control.store.transaction import Transaction

BATCH_SIZE = 100
_FINAL = [status.value for status, row in STATUSES.items() if row.final]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedIds:
    """The ids of deleted orders, and of their runs."""

    orders: Sequence[str] = ()
    runs: Sequence[str] = ()


def delete_ended_orders(transaction: Transaction, before: int) -> DeletedIds:
    """Delete up to ``BATCH_SIZE`` orders whose last run ended before a time."""
    connection, orders, runs = transaction.connection, tables.ORDERS.c, tables.RUNS.c
    order_ids = list(connection.execute(_ended_orders(before)).scalars())
    if not order_ids:
        return DeletedIds()
    of_order = select(runs.id, runs.plan).where(runs.order_id.in_(order_ids))
    of_runs = connection.execute(of_order).all()
    run_ids = [run.id for run in of_runs]
    plans = {run.plan for run in of_runs if run.plan is not None}
    of_orders = select(orders.plan).where(orders.id.in_(order_ids)).distinct()
    plans.update(connection.execute(of_orders).scalars())
    for column in (tables.EVENTS.c.run_id, tables.STALE_REPORTS.c.run_id, tables.ALERTS.c.run_id,
                   tables.DATACLIPS.c.owner, runs.id):  # fmt: skip
        connection.execute(delete(column.table).where(column.in_(run_ids)))
    for column in (tables.DATACLIPS.c.owner, tables.TRIGGER_FIRINGS.c.order_id, orders.id):
        connection.execute(delete(column.table).where(column.in_(order_ids)))
    _delete_unused_plans(connection, plans)
    return DeletedIds(orders=order_ids, runs=run_ids)


def _ended_orders(before: int) -> Select[Any]:
    """Select the ids of the first orders whose last run ended before a time, and lock them."""
    orders, runs = tables.ORDERS.c, tables.RUNS.c
    last_end = (
        select(func.coalesce(func.max(runs.changed), orders.created))
        .where(runs.order_id == orders.id)
        .scalar_subquery()
    )
    return (
        select(orders.id)
        .where(orders.status.in_(_FINAL), orders.created < before, last_end < before)
        .order_by(orders.created)
        .limit(BATCH_SIZE)
        # An order that another control plane has locked may be retried right now.
        .with_for_update(of=tables.ORDERS, skip_locked=True)
    )


def _delete_unused_plans(connection: Connection, plans: Collection[str]) -> None:
    """Delete those plans that no order refers to any more: orders share them."""
    id = tables.PLANS.c.id
    used = (exists().where(column == id) for column in (tables.ORDERS.c.plan, tables.RUNS.c.plan))
    connection.execute(delete(tables.PLANS).where(id.in_(plans), *(~each for each in used)))


def delete_silent_workers(transaction: Transaction, before: int) -> Sequence[str]:
    """Delete up to ``BATCH_SIZE`` workers that were silent since a time; return their names."""
    workers = tables.WORKERS.c
    silent = (workers.since < before) & (workers.heard < before)
    first = select(workers.name).where(silent).limit(BATCH_SIZE).scalar_subquery()
    deleted = delete(tables.WORKERS).where(silent, workers.name.in_(first))
    return list(transaction.connection.execute(deleted.returning(workers.name)).scalars())


def delete_old_actions(transaction: Transaction, before: int) -> int:
    """Delete up to ``BATCH_SIZE`` actions that were taken before a time; return the number."""
    actions = tables.ACTIONS.c
    old = select(actions.id).where(actions.at < before).order_by(actions.at).limit(BATCH_SIZE)
    deleted = delete(tables.ACTIONS).where(actions.id.in_(old.scalar_subquery()))
    return transaction.connection.execute(deleted).rowcount
