"""Unique orders: at most one order of a project with the same key waits or runs."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select

from worker.core.status import STATUSES
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder
from worker.fleet.control.lifecycle import CancelRequested, Due
from worker.fleet.control.store import tables
from worker.fleet.control.unit_of_work import UnitOfWork

_UNFINISHED = [status.value for status, row in STATUSES.items() if not row.final]
RECHECK_US = 30_000_000
"""How long a run waits for a key at most before it is looked at again: nothing is lost for ever."""


def unfinished_with_key(uow: UnitOfWork, order: WorkOrder) -> list[RunRecord]:
    """Return the last runs of the other unfinished orders with an order's unique key."""
    if order.unique_key is None:
        return []
    # Locked, so that two control planes do not both see no order with the key.
    uow.transaction.lock_project(order.project)
    uow.transaction.flush()
    orders = tables.ORDERS.c
    of_key = select(orders.last_run).where(
        orders.unique_key == order.unique_key,
        orders.project == order.project,
        orders.status.in_(_UNFINISHED),
        orders.id != order.id,
    )
    run_ids = list(uow.transaction.connection.execute(of_key).scalars())
    uow.transaction.load_runs(run_ids)
    runs = (uow.transaction.run(id) for id in run_ids)
    return [run for run in runs if run is not None and not run.final]


def running(runs: Iterable[RunRecord]) -> RunRecord | None:
    """Return the run that a worker has, if there is one."""
    return next((run for run in runs if run.leased), None)


def replace_queued(uow: UnitOfWork, runs: Iterable[RunRecord], order: WorkOrder) -> None:
    """Cancel the waiting runs of older orders with the key of a newer one."""
    reason = f"order {order.id} with the same key replaced it"
    for run in runs:
        if not run.leased:
            uow.transaction.load_orders([run.order_id])
            uow.apply(run, CancelRequested(at=uow.now_us, reason=reason))


def release_key(uow: UnitOfWork, order: WorkOrder) -> None:
    """Queue the run that waited for the end of an order with the same key."""
    runs = unfinished_with_key(uow, order)
    # The order that ended may be one that waited too, and was replaced.
    for run in runs if running(runs) is None else ():
        if run.phase is RunPhase.DELAYED and run.not_before <= uow.now_us:
            uow.transaction.load_orders([run.order_id])
            uow.apply(run, Due())
