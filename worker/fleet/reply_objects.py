"""Objects that a client returns: the JSON objects of the replies, with their fields as attributes.

A field that a newer control plane adds is in the object as well: ``order["field"]``. One that an
older one does not send is an ``AttributeError``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class ReplyObject(dict[str, Any]):
    """JSON object of a reply."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            message = f"the {type(self).__name__.lower()} has no field '{name}'"
            raise AttributeError(message) from None

    # Else completion in a notebook would show the methods of a dict alone.
    def __dir__(self) -> Sequence[str]:
        return [*super().__dir__(), *self]


class RunStep(ReplyObject):
    """Execution of a step; of one that has not completed, the first five fields."""

    step_id: str
    job_id: str
    execution: int
    started: int
    input_dataclip_id: str
    reason: str
    error_type: str | None
    error_message: str | None
    output_dataclip_id: str | None
    next: list[str]
    duration: int
    mem: int
    withheld: bool
    completed_seq: int


class Run(ReplyObject):
    """Run of a work order. Times are in microseconds since the epoch.

    The fields from ``reported`` on are those of a run that was queried by its id.
    """

    run_id: str
    order_id: str
    number: int
    project: str
    workflow: str
    status: str
    attempt: int
    priority: int
    created: int
    worker: str | None
    started: int | None
    finished: int | None
    start: str | None
    error_type: str | None
    error_message: str | None
    skew: int | None
    revision: int
    not_before: int | None
    start_by: int | None
    retries: int
    reported: int
    needs: list[str]
    stale_reports: int
    steps: list[RunStep]
    plan: dict[str, Any]


class Order(ReplyObject):
    """Work order with its last ``run``; one that is queried has ``all_runs`` and ``actions``."""

    order_id: str
    project: str
    workflow: str
    status: str
    priority: int
    created: int
    runs: int
    reason: str | None
    last_run: str | None
    unique: str | None
    tags: list[str]
    erased: int | None
    revision: int
    run: Run | None
    all_runs: list[Run]
    actions: list[dict[str, Any]]


class RunLease(ReplyObject):
    """Lease of a run by a worker; ``expires`` is in microseconds since the epoch."""

    run_id: str
    status: str
    expires: int


class ListedWorker(ReplyObject):
    """Worker of a fleet, with its leases."""

    name: str
    incarnation: str
    online: bool
    draining: bool
    capacity: int
    version: str
    since: int
    offers: list[str]
    heard: int | None
    host: str
    leases: list[RunLease]


def run_of_reply(fields: Mapping[str, Any]) -> Run:
    """Return a run, with its steps where it has them."""
    run = Run(fields)
    if "steps" in run:
        run["steps"] = [RunStep(step) for step in run["steps"]]
    return run


def order_of_reply(fields: Mapping[str, Any]) -> Order:
    """Return an order, with its runs where it has them."""
    order = Order(fields)
    if order.get("run") is not None:
        order["run"] = run_of_reply(order["run"])
    if "all_runs" in order:
        order["all_runs"] = [run_of_reply(run) for run in order["all_runs"]]
    return order


def worker_of_reply(fields: Mapping[str, Any]) -> ListedWorker:
    """Return a worker with its leases."""
    worker = ListedWorker(fields)
    worker["leases"] = [RunLease(lease) for lease in worker.get("leases", ())]
    return worker
