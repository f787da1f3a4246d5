"""Automatic retries: new runs for orders whose last run ended badly, as their policy has it.

A lost run is repeated only where its workflow is idempotent. It stays lost, and its alert goes out:
nobody knows what it has done.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from worker.core.status import Status
from worker.fleet.control.entities import RunRecord, WorkOrder
from worker.fleet.control.placement import needed_credentials
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.run_creation import add_run, unused_run_id
from worker.fleet.control.store import queries
from worker.fleet.control.unique_orders import unfinished_with_key
from worker.fleet.control.unit_of_work import UnitOfWork
from worker.workflow.order_retry import OrderRetry


class _PlanOptions(msgspec.Struct, frozen=True):
    idempotent: bool = False
    retry: OrderRetry | None = None


class _Plan(msgspec.Struct, frozen=True):
    options: _PlanOptions = _PlanOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRules:
    """The rules that hold for one order: its retry policy, and whether its workflow is idempotent.

    Without a policy, ``lost_retries`` is how many lost runs are repeated, at once.
    """

    policy: OrderRetry | None
    idempotent: bool
    lost_retries: int

    def pause_s(self, run: RunRecord) -> float | None:
        """Return the seconds until a run is repeated; ``None`` where it is not."""
        if run.status is Status.LOST and not self.idempotent:
            return None
        if self.policy is None:
            repeated = run.status is Status.LOST and run.retries < self.lost_retries
            return 0.0 if repeated else None
        if run.retries >= self.policy.times:
            return None
        if not self.policy.covers(run.status.value, run.error_type):
            return None
        return self.policy.pause_s(run.retries, _fraction(run.id))


def _fraction(id: str) -> float:
    # From the id and not from chance: two control planes, or a repeated transaction, agree.
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:4]) / 2**32


def choose_policy(
    order: WorkOrder, limits: ProjectLimits, of_workflow: OrderRetry | None
) -> OrderRetry | None:
    """Choose the most specific retry policy: of the order, the workflow, or its project."""
    if order.retry is not None:
        return msgspec.json.decode(order.retry, type=OrderRetry)
    return limits.retries.get(order.workflow) or of_workflow or limits.retry


def retry_automatically(uow: UnitOfWork, policy: Policy, run: RunRecord) -> None:
    """Add a new run to the order of a run that ended badly, unless that is not allowed."""
    order = uow.transaction.order(run.order_id)
    # A run that a client wanted to end is not done again, whatever has become of it.
    if order is None or order.last_run != run.id or run.cancelling or order.erased is not None:
        return
    rules = _rules(uow, policy, order, run)
    pause_s = rules.pause_s(run)
    # A newer order with the same key has taken its place.
    if pause_s is None or unfinished_with_key(uow, order):
        return
    # Nor may it name a credential that the policy has taken away since.
    credentials = needed_credentials(order.needs)
    if policy.first_refused(credentials, order.project, order.ref) is not None:
        return
    start, input = _begin(uow, rules.policy, run)
    add_run(
        uow,
        order,
        unused_run_id(uow, order),
        start=start,
        input=input,
        plan_id=run.plan_id,
        not_before=uow.now_us + int(pause_s * 1e6) if pause_s else 0,
        retries=run.retries + 1,
    )


def _rules(uow: UnitOfWork, policy: Policy, order: WorkOrder, run: RunRecord) -> RetryRules:
    limits = policy.of(order.project)
    plan = uow.transaction.plan(run.plan_id or order.plan_id)
    options = msgspec.json.decode(plan, type=_Plan).options
    return RetryRules(
        policy=choose_policy(order, limits, options.retry),
        idempotent=options.idempotent or order.workflow in limits.idempotent,
        lost_retries=uow.settings.lost_retries,
    )


def _begin(uow: UnitOfWork, policy: OrderRetry | None, run: RunRecord) -> tuple[str, str]:
    """Find the step that a new run begins at, and where its input is stored."""
    if policy is None or policy.origin == "start":
        return run.start, run.input
    # The events of this batch are among the rows that are not written yet.
    uow.transaction.flush()
    steps = queries.steps_of(uow.transaction.connection, run)
    failed = [step["job_id"] for step in steps if step.get("reason", "success") != "success"]
    stored = queries.input_of(uow.transaction, run, failed[-1]) if failed else None
    # Where no input is stored, as it was withheld, the run begins as the one before.
    return (failed[-1], stored) if stored else (run.start, run.input)
