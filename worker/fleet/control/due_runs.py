"""Runs whose time has come: delays that are over, and deadlines that have passed."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, bindparam, select

from worker.fleet.control.entities import RunPhase
from worker.fleet.control.lifecycle import DeadlinePassed, Due, Postponed
from worker.fleet.control.store import tables
from worker.fleet.control.unique_orders import RECHECK_US, running, unfinished_with_key
from worker.fleet.control.unit_of_work import UnitOfWork

# The limit keeps a tick short; the next tick does the rest.
_BATCH_SIZE = 500
_RUNS = tables.RUNS.c
_WAITING = (RunPhase.DELAYED.value, RunPhase.AVAILABLE.value)
# Built once: to build a statement takes longer than to execute it, and each tick has these.
_DUE = (
    select(_RUNS.id)
    .where(_RUNS.phase == RunPhase.DELAYED.value, _RUNS.expires <= bindparam("now"))
    .order_by(_RUNS.expires)
    .limit(_BATCH_SIZE)
)
_LATE = (
    select(_RUNS.id)
    .where(_RUNS.start_by < bindparam("now"), _RUNS.phase.in_(_WAITING))
    .limit(_BATCH_SIZE)
)


def queue_due_runs(uow: UnitOfWork) -> None:
    """Queue the delayed runs that are due, unless another order with their key runs."""
    for run_id in _ids(uow, _DUE):
        run = uow.transaction.run(run_id)
        order = None if run is None else uow.transaction.order(run.order_id)
        if run is None or order is None or run.phase is not RunPhase.DELAYED:
            continue
        if running(unfinished_with_key(uow, order)):
            uow.apply(run, Postponed(until=uow.now_us + RECHECK_US))
        else:
            uow.apply(run, Due())


def reject_late_runs(uow: UnitOfWork) -> None:
    """Reject the waiting runs whose deadline has passed."""
    for run_id in _ids(uow, _LATE):
        run = uow.transaction.run(run_id)
        if run is not None and run.phase.value in _WAITING:
            uow.apply(run, DeadlinePassed(at=uow.now_us))


def _ids(uow: UnitOfWork, query: Select[Any]) -> list[str]:
    result = uow.transaction.connection.execute(query, {"now": uow.now_us})
    if not (run_ids := list[str](result.scalars())):
        return []
    uow.transaction.load_runs(run_ids)
    runs = (uow.transaction.run(id) for id in run_ids)
    uow.transaction.load_orders(run.order_id for run in runs if run is not None)
    return run_ids
