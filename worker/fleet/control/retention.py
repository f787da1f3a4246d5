"""Forgetting: orders that ended long ago, with all that was kept of their runs."""

from __future__ import annotations

from sqlalchemy import delete, func, select

from worker.core.status import STATUSES
from worker.fleet.control.store import tables
from worker.fleet.control.unit_of_work import UnitOfWork

AT_ONCE = 500
_FINAL = [status.value for status, row in STATUSES.items() if row.final]


def forget(batch: UnitOfWork, before: int) -> int:
    """Delete up to ``AT_ONCE`` orders whose last run ended before a time; how many there were."""
    connection, orders, runs = batch.work.connection, tables.ORDERS.c, tables.RUNS.c
    youngest = (
        select(func.coalesce(func.max(runs.finished), orders.created))
        .where(runs.order_id == orders.id)
        .scalar_subquery()
    )
    found = (
        select(orders.id)
        .where(orders.status.in_(_FINAL), orders.created < before, youngest < before)
        .order_by(orders.created)
        .limit(AT_ONCE)
        .with_for_update(of=tables.ORDERS, skip_locked=True)
    )
    order_ids = list(connection.execute(found).scalars())
    if not order_ids:
        return 0
    of_order = select(runs.id).where(runs.order_id.in_(order_ids))
    run_ids = list(connection.execute(of_order).scalars())
    for column in (tables.EVENTS.c.run_id, tables.STALE.c.run_id, tables.ALERTS.c.run_id,
                   tables.CLIPS.c.owner, runs.id):  # fmt: skip
        connection.execute(delete(column.table).where(column.in_(run_ids)))
    connection.execute(delete(tables.CLIPS).where(tables.CLIPS.c.owner.in_(order_ids)))
    connection.execute(delete(tables.ORDERS).where(orders.id.in_(order_ids)))
    used = select(orders.plan)
    connection.execute(delete(tables.PLANS).where(tables.PLANS.c.id.not_in(used)))
    return len(order_ids)
