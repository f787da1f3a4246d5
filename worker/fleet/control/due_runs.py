"""Runs whose time has come: delays that are over, and deadlines that have passed."""

from __future__ import annotations

from sqlalchemy import bindparam, or_, select

from worker.fleet.control.entities import RunPhase
from worker.fleet.control.lifecycle import DeadlinePassed, Due, Postponed
from worker.fleet.control.store import tables
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.unique_orders import RECHECK_US, running, unfinished_with_key
from worker.fleet.control.unit_of_work import UnitOfWork

# The limit keeps a tick short; the next tick does the rest.
_BATCH_SIZE = 500
_RUNS = tables.RUNS.c
_WAITING = (RunPhase.DELAYED.value, RunPhase.AVAILABLE.value)
IS_DUE = (_RUNS.phase == RunPhase.DELAYED.value, _RUNS.expires <= bindparam("now"))
IS_LATE = (
    _RUNS.start_by < bindparam("now"),
    or_(*(_RUNS.phase == phase for phase in _WAITING)),
)
_DUE = Prepared(select(_RUNS.id).where(*IS_DUE).order_by(_RUNS.expires).limit(_BATCH_SIZE))
_LATE = Prepared(select(_RUNS.id).where(*IS_LATE).limit(_BATCH_SIZE))


def due_runs(uow: UnitOfWork) -> list[str]:
    """Load the delayed runs that are due; return their ids."""
    return _ids(uow, _DUE)


def queue_due_run(uow: UnitOfWork, run_id: str) -> None:
    """Queue a delayed run, unless another order with its key runs."""
    run = uow.transaction.run(run_id)
    order = None if run is None else uow.transaction.order(run.order_id)
    if run is None or order is None or run.phase is not RunPhase.DELAYED:
        return
    if running(unfinished_with_key(uow, order)):
        uow.apply(run, Postponed(until=uow.now_us + RECHECK_US))
    else:
        uow.apply(run, Due())


def late_runs(uow: UnitOfWork) -> list[str]:
    """Load the waiting runs whose deadline has passed; return their ids."""
    return _ids(uow, _LATE)


def reject_late_run(uow: UnitOfWork, run_id: str) -> None:
    """Reject a waiting run whose deadline has passed."""
    run = uow.transaction.run(run_id)
    if run is not None and run.phase.value in _WAITING:
        uow.apply(run, DeadlinePassed(at=uow.now_us))


def _ids(uow: UnitOfWork, query: Prepared) -> list[str]:
    run_ids = query.column(uow.transaction.connection, {"now": uow.now_us})
    if not run_ids:
        return []
    uow.transaction.load_runs(run_ids)
    runs = (uow.transaction.run(id) for id in run_ids)
    uow.transaction.load_orders(run.order_id for run in runs if run is not None)
    return run_ids
