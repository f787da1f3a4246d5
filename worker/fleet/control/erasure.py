"""Erasure of the states and logs of an order; its status and times stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec.structs import replace
from sqlalchemy import delete, select, text, update

from worker.core.status import STATUSES
from worker.fleet.control.audit_log import record_action
from worker.fleet.control.entities import RunRecord, WorkOrder
from worker.fleet.control.policy import ProjectLimits
from worker.fleet.control.store import queries, tables
from worker.fleet.control.triggers.results import mark_replied
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.messaging.operation_messages import EraseRequest
from worker.fleet.messaging.worker_protocol import Command

REPEAT_US = 30 * 86_400_000_000
"""How long a worker that was away is commanded to erase what it has in its outbox."""
MAX_COMMANDED = 10_000
_ORDERS, _RUNS = tables.ORDERS.c, tables.RUNS.c


def erase(uow: UnitOfWork, request: EraseRequest) -> WorkOrder:
    """Erase an order that has ended, everywhere. A repeated request has no further effect."""
    order = uow.transaction.order(request.order_id)
    if order is None:
        raise RequestError("unknown", f"there is no order '{request.order_id}'")
    if not STATUSES[order.status].final:
        raise RequestError("conflict", f"order {order.id} is {order.status.value}: cancel it first")
    uow.transaction.flush()
    runs = queries.runs_of(uow.transaction.connection, order.id)
    _delete_content(uow, order, runs, with_messages=True)
    mark_replied(uow.transaction.connection, [order.id])
    # Tags, keys and the hash of the input can lead to a person too.
    erased = replace(
        order, tags="", unique_key=None, content=None, erased=order.erased or uow.now_us
    )
    uow.transaction.put_order(erased)
    uow.publish_order_state(erased)
    for run in runs:
        uow.publish_run_state(replace(run, error_message=None))
    _command_workers(uow, runs)
    if order.erased is None:
        record_action(uow, "erase", project=order.project, subject=order.id)
    return erased


def forget_by_policy(uow: UnitOfWork, limits: ProjectLimits, order: WorkOrder) -> None:
    """Delete what a project does not store of an order that has ended."""
    keeps = limits.keep_data == "all" or (
        limits.keep_data == "errors" and order.status.value != "success"
    )
    if keeps or not STATUSES[order.status].final:
        return
    uow.transaction.flush()
    runs = queries.runs_of(uow.transaction.connection, order.id)
    _delete_content(uow, order, runs, with_messages=False)


def _delete_content(
    uow: UnitOfWork, order: WorkOrder, runs: Sequence[RunRecord], *, with_messages: bool
) -> None:
    """Delete the states and events of an order, and the error messages of its runs."""
    connection, run_ids = uow.transaction.connection, [run.id for run in runs]
    if connection.dialect.name == "sqlite":
        # Else the content stays in the free pages of the file.
        connection.execute(text("PRAGMA secure_delete=ON"))
    owners = tables.DATACLIPS.c.owner
    connection.execute(delete(tables.DATACLIPS).where(owners.in_([order.id, *run_ids])))
    for column in (tables.EVENTS.c.run_id, tables.STALE_REPORTS.c.run_id):
        connection.execute(delete(column.table).where(column.in_(run_ids)))
    if with_messages:
        change = update(tables.RUNS).where(_RUNS.id.in_(run_ids))
        connection.execute(change.values(error_message=None))


def _command_workers(uow: UnitOfWork, runs: Iterable[RunRecord]) -> None:
    by_worker = defaultdict(list)
    for run in runs:
        if run.worker is not None:
            by_worker[run.worker].append(run.id)
    for worker, run_ids in by_worker.items():
        uow.publish(uow.topics.worker(worker, "cmd"), Command(erase=run_ids))


def command_erasures(uow: UnitOfWork, worker: str) -> None:
    """Command a worker that has connected to erase what was erased while it was away."""
    erased = (
        select(_RUNS.id)
        .join(tables.ORDERS, _ORDERS.id == _RUNS.order_id)
        .where(_ORDERS.erased > uow.now_us - REPEAT_US, _RUNS.worker == worker)
        .limit(MAX_COMMANDED)
    )
    if run_ids := list(uow.transaction.connection.execute(erased).scalars()):
        uow.publish(uow.topics.worker(worker, "cmd"), Command(erase=run_ids))
