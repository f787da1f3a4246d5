"""Retention: deletes orders that ended long ago, with all rows of their runs, and old actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, union

from worker.core.status import STATUSES
from worker.fleet.control.store import tables
from worker.fleet.control.store.transaction import Transaction

BATCH_SIZE = 500
_FINAL = [status.value for status, row in STATUSES.items() if row.final]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedIds:
    """The ids of deleted orders, and of their runs."""

    orders: Sequence[str] = ()
    runs: Sequence[str] = ()


def delete_ended_orders(transaction: Transaction, before: int) -> DeletedIds:
    """Delete up to ``BATCH_SIZE`` orders whose last run ended before a time."""
    connection, orders, runs = transaction.connection, tables.ORDERS.c, tables.RUNS.c
    last_end = (
        select(func.coalesce(func.max(runs.changed), orders.created))
        .where(runs.order_id == orders.id)
        .scalar_subquery()
    )
    ended = (
        select(orders.id)
        .where(orders.status.in_(_FINAL), orders.created < before, last_end < before)
        .order_by(orders.created)
        .limit(BATCH_SIZE)
        # An order that another control plane has locked may be retried right now.
        .with_for_update(of=tables.ORDERS, skip_locked=True)
    )
    order_ids = list(connection.execute(ended).scalars())
    if not order_ids:
        return DeletedIds()
    of_order = select(runs.id).where(runs.order_id.in_(order_ids))
    run_ids = list(connection.execute(of_order).scalars())
    for column in (tables.EVENTS.c.run_id, tables.STALE_REPORTS.c.run_id, tables.ALERTS.c.run_id,
                   tables.DATACLIPS.c.owner, runs.id):  # fmt: skip
        connection.execute(delete(column.table).where(column.in_(run_ids)))
    connection.execute(delete(tables.DATACLIPS).where(tables.DATACLIPS.c.owner.in_(order_ids)))
    firings = tables.TRIGGER_FIRINGS
    connection.execute(delete(firings).where(firings.c.order_id.in_(order_ids)))
    connection.execute(delete(tables.ORDERS).where(orders.id.in_(order_ids)))
    # Plans are shared between orders, so they go only when no order refers to them.
    used = union(select(orders.plan), select(runs.plan).where(runs.plan.is_not(None)))
    connection.execute(delete(tables.PLANS).where(tables.PLANS.c.id.not_in(used)))
    return DeletedIds(orders=order_ids, runs=run_ids)


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
