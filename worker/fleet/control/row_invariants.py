"""Invariants of each row of a run and of an order, whatever happened to it. Pure.

They are checked before a row is written and after it is read.
"""

from __future__ import annotations

from worker.core.status import STATUSES, Status
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder

_WAITING = (RunPhase.DELAYED, RunPhase.AVAILABLE)


def problem_of_run(run: RunRecord) -> str:
    """Return the invariant that a run breaks; an empty text for a sound one."""
    is_final = run.phase is RunPhase.FINAL
    # Written out: this is on the way of every row.
    if is_final is not STATUSES[run.status].final or is_final is not (run.finished is not None):
        problem = f"phase {run.phase.value}, finished at {run.finished}"
    elif (run.phase is RunPhase.STARTED) is not (run.status is Status.RUNNING):
        problem = f"phase {run.phase.value}"
    elif run.leased and not (run.worker and run.token and run.claim_id and run.incarnation):
        problem = "leased without a worker, a token, a claim or an incarnation"
    elif run.phase in _WAITING and run.token is not None:
        problem = "waits with the token of a lease"
    elif run.attempt < 1 or run.number < 1 or run.reported < -1 or run.revision < 0:
        problem = f"attempt {run.attempt}, number {run.number}, reported {run.reported}"
    else:
        return ""
    return f"run {run.id} is {run.status.value}: {problem}"


def problem_of_order(order: WorkOrder) -> str:
    """Return the invariant that an order breaks; an empty text for a sound one."""
    if (order.last_run is None) is (order.runs == 0) and order.revision >= 0:
        return ""
    return f"order {order.id} has {order.runs} runs, and its last one is {order.last_run}"
