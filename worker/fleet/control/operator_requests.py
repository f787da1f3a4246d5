"""Handlers of operators' requests: pause, resume, acknowledge, bulk cancel and retry."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import select, update

from worker.core.status import STATUSES, Status
from worker.fleet.control import audit_log, erasure, pauses, views
from worker.fleet.control.entities import WorkOrder
from worker.fleet.control.query_budget import TOO_MANY_ROWS
from worker.fleet.control.store import tables
from worker.fleet.control.store.listing import MAX_PARTS, PART_ROWS, Listing, Place
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.messaging import operation_messages as ops

# No part has more.
MAX_COUNTED = PART_ROWS + 1
_ENDS: dict[str, list[Status]] = {
    "cancel": [status for status, row in STATUSES.items() if not row.final],
    "retry": [
        status
        for status, row in STATUSES.items()
        if row.final and status not in (Status.SUCCESS, Status.CANCELLED)
    ],
}

ChangeOrder = Callable[[UnitOfWork, str, str], Any]
"""Cancels or retries an order, by its id and the id of a new run."""


class OperationsHandler:
    """The handlers of requests of operators, by name; ``cancel`` and ``retry`` change one order."""

    def __init__(self, *, cancel: ChangeOrder, retry: ChangeOrder) -> None:
        self._change = {"cancel": cancel, "retry": retry}
        self.methods: dict[str, Callable[[UnitOfWork, Any], Any]] = {
            "pause": pause,
            "resume": resume,
            "pauses": list_pauses,
            "actions": list_actions,
            "acknowledge": acknowledge,
            "bulk": self.bulk,
            "erase": _erase,
        }

    def bulk(self, uow: UnitOfWork, request: ops.BulkRequest) -> Any:
        """Cancel or retry the next orders that match, in the order in which they were received."""
        if request.before is not None or request.beyond is not None:
            raise RequestError("invalid", "a change of many goes on with after, not with before")
        size = min(request.limit, ops.MAX_STEP)
        listing = Listing(tables.ORDERS, request, statuses=_statuses(request), newest_first=False)
        listing.start_after(request.after, request.after_id or "")
        if request.dry_run:
            return _count(uow, listing, request)
        part = listing.part(uow.transaction.connection, size)
        uow.queries.add_rows(listing.part_rows)
        rows = part.rows
        uow.transaction.load_orders(row.id for row in rows)
        skipped: Counter[str] = Counter()
        for row in rows:
            run_id = bulk_run_id(request.batch, row.id)
            try:
                self._change[request.action](uow, row.id, run_id)
            # Those that have ended, or begun, since the count; a limit; a key in use.
            except RequestError as error:
                skipped[error.code] += 1
        end = (rows[-1].created, rows[-1].id) if len(rows) == size else part.end
        return {
            "matching": len(rows),
            "changed": len(rows) - skipped.total(),
            "skipped": dict(skipped),
            "next": _place(end),
        }


def _count(uow: UnitOfWork, listing: Listing, request: ops.BulkRequest) -> Any:
    matching = 0
    for _ in range(MAX_PARTS):
        number, end = listing.count(uow.transaction.connection, MAX_COUNTED)
        uow.queries.add_rows(listing.part_rows)
        matching += number
        if end is None or request.partial:
            return {"matching": matching, "changed": 0, "next": _place(end)}
        listing.start_after(*end)
    raise RequestError("too_large", TOO_MANY_ROWS)


def _place(end: Place | None) -> Any:
    return None if end is None else {"after": end[0], "after_id": end[1]}


def bulk_run_id(batch: str, order_id: str) -> str:
    """Derive the id of the run that a bulk retry adds: a repeated request adds no second one."""
    return f"bulk-{hashlib.sha256(f'{batch}/{order_id}'.encode()).hexdigest()[:40]}"


def _statuses(request: ops.BulkRequest) -> list[str]:
    statuses = [status.value for status in _ENDS[request.action]]
    if request.status is not None and request.action == "retry":
        # A success is repeated where it is named.
        statuses = [status.value for status, row in STATUSES.items() if row.final]
    return statuses


# --- pauses ---------------------------------------------------------------------------------------


def pause(uow: UnitOfWork, request: ops.PauseRequest) -> Any:
    """Lease no further runs of a workflow, or of a project, until it is resumed."""
    project, workflow = _target(request)
    pauses.put_pause(uow, project, workflow)
    _record(uow, "pause", project, workflow)
    return _view(request, paused=True)


def resume(uow: UnitOfWork, request: ops.PauseRequest) -> Any:
    """Lease the runs of a workflow, or of a project, again."""
    project, workflow = _target(request)
    was_paused = pauses.remove_pauses(uow, [(project, workflow)]) > 0
    if was_paused:
        _record(uow, "resume", project, workflow)
    return {**_view(request, paused=False), "was_paused": was_paused}


def _target(request: ops.PauseRequest) -> tuple[str, str]:
    if request.project is None and request.workflow is None:
        raise RequestError("invalid", "a pause needs a workflow, a project, or both")
    return request.project or tables.ALL_PROJECTS, request.workflow or tables.WHOLE_PROJECT


def _view(request: ops.PauseRequest, *, paused: bool) -> dict[str, Any]:
    return {"project": request.project, "workflow": request.workflow, "paused": paused}


def _record(uow: UnitOfWork, action: str, project: str, workflow: str) -> None:
    audit_log.record_action(uow, action, project=project, subject=workflow or project)


def list_pauses(uow: UnitOfWork, _: Any) -> Any:
    return pauses.list_pauses(uow.transaction.connection)


def list_actions(uow: UnitOfWork, query: ops.ActionQuery) -> Any:
    uow.transaction.flush()
    return audit_log.list_actions(uow.transaction.connection, query.project)


# --- content --------------------------------------------------------------------------------------


def _erase(uow: UnitOfWork, request: ops.EraseRequest) -> Any:
    return views.order_state(erasure.erase(uow, request))


# --- alerts ---------------------------------------------------------------------------------------


def acknowledge(uow: UnitOfWork, request: ops.AcknowledgeRequest) -> Any:
    """Record that somebody takes care of the alert of a run. The first one stays."""
    alerts = tables.ALERTS
    run = uow.transaction.run(request.run_id)
    order = None if run is None else uow.transaction.order(run.order_id)
    uow.transaction.flush()
    known = select(alerts.c.run_id).where(alerts.c.run_id == request.run_id)
    if order is None or uow.transaction.connection.execute(known).first() is None:
        raise RequestError("unknown", f"there is no alert of a run '{request.run_id}'")
    change = update(alerts).where(
        alerts.c.run_id == request.run_id, alerts.c.acknowledged.is_(None)
    )
    values = {"acknowledged": uow.now_us, "acknowledged_by": uow.client}
    if uow.transaction.connection.execute(change.values(values)).rowcount:
        record_on_order(uow, "acknowledge", order, detail=request.run_id)
    return {"run_id": request.run_id}


def record_on_order(uow: UnitOfWork, action: str, order: WorkOrder, *, detail: str = "") -> None:
    """Record an action on an order."""
    audit_log.record_action(uow, action, project=order.project, subject=order.id, detail=detail)


def acknowledgements(uow: UnitOfWork, run_ids: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Read when alerts were acknowledged, and by whom, by their runs."""
    alerts = tables.ALERTS.c
    query = select(alerts.run_id, alerts.acknowledged, alerts.acknowledged_by).where(
        alerts.run_id.in_(run_ids), alerts.acknowledged.is_not(None)
    )
    rows = uow.transaction.connection.execute(query)
    return {row.run_id: (row.acknowledged, row.acknowledged_by) for row in rows}
