"""New runs for orders whose run was lost, where the workflow is idempotent.

The lost run stays lost, and its alert goes out: nobody knows what it has done.
"""

from __future__ import annotations

import msgspec

from worker.core.status import Status
from worker.fleet.control.client_requests import add_run, unused_run_id
from worker.fleet.control.entities import RunRecord
from worker.fleet.control.policy import Policy
from worker.fleet.control.store import queries
from worker.fleet.control.unit_of_work import UnitOfWork


class _PlanOptions(msgspec.Struct, frozen=True):
    idempotent: bool = False


class _Plan(msgspec.Struct, frozen=True):
    options: _PlanOptions = _PlanOptions()


def repeat_lost_run(uow: UnitOfWork, policy: Policy, run: RunRecord) -> None:
    """Add a new run to the order of a lost one, unless that is not allowed or was often enough."""
    order = uow.transaction.order(run.order_id)
    # A run that a client wanted to end is not done again, whatever has become of it.
    if order is None or order.last_run != run.id or run.cancelling:
        return
    listed = order.workflow in policy.of(order.project).idempotent
    if not listed and not _is_idempotent(uow.transaction.plan(run.plan_id or order.plan_id)):
        return
    uow.transaction.flush()
    runs = queries.runs_of(uow.transaction.connection, order.id)
    if sum(each.status is Status.LOST for each in runs) > uow.settings.lost_retries:
        return
    add_run(
        uow,
        order,
        unused_run_id(uow, order),
        start=run.start,
        input=run.input,
        plan_id=run.plan_id,
    )


def _is_idempotent(plan: str) -> bool:
    return msgspec.json.decode(plan, type=_Plan).options.idempotent
