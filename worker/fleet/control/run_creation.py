"""Creation of an order's next run."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from worker.core.status import Status
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder
from worker.fleet.control.inbound import numbered_run_id
from worker.fleet.control.unit_of_work import UnitOfWork


def unused_run_id(uow: UnitOfWork, order: WorkOrder) -> str:
    """Choose an unused id for the next run of an order: the same on every control plane."""
    id = numbered_run_id(order.id, order.runs + 1)
    if uow.transaction.run(id) is None and uow.transaction.order(id) is None:
        return id
    unique = hashlib.sha256(f"{order.id}/{order.runs + 1}".encode()).hexdigest()
    return f"{order.id[:31]}-{unique[:32]}"


def add_run(
    uow: UnitOfWork,
    order: WorkOrder,
    run_id: str,
    *,
    start: str = "",
    input: str = "",
    plan_id: str | None = None,
    not_before: int = 0,
    start_by: int | None = None,
    until: int = 0,
    retries: int = 0,
) -> WorkOrder:
    """Add a run to an order and to the queue. Return the order with the run as its last.

    It is delayed where ``not_before`` or ``until`` is later than now; ``until`` is when something
    else that it waits for is looked at again.
    """
    order = replace(order, runs=order.runs + 1, last_run=run_id, status=Status.PENDING, reason=None)
    uow.transaction.put_order(order)
    created = uow.next_timestamp()
    due = max(not_before, until)
    delayed = due > uow.now_us
    uow.add_run(
        RunRecord(
            id=run_id,
            order_id=order.id,
            number=order.runs,
            project=order.project,
            workflow=order.workflow,
            priority=order.priority,
            age=created,
            start=start,
            input=input or order.input,
            created=created,
            changed=created,
            plan_id=plan_id,
            phase=RunPhase.DELAYED if delayed else RunPhase.AVAILABLE,
            expires=due if delayed else 0,
            not_before=not_before,
            start_by=start_by,
            retries=retries,
            needs=order.needs,
        )
    )
    # As it is with the run's status.
    return uow.transaction.order(order.id) or order
