"""The messages for all subscribers: states and events of runs, states of orders, and alerts."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from worker.fleet.messaging.messages import (
    Attempts,
    Count,
    Id,
    Payload,
    Priority,
    StatusName,
    Time,
)


class RunState(Payload, frozen=True, omit_defaults=False):
    """The state of a run, retained. A state with a lower ``revision`` than one before is old.

    A run is not leased before ``not_before``, and rejected where it has not started by
    ``start_by``; ``retries`` counts the automatic retries in a row that led to it. ``started`` and
    ``finished`` are by the clock of the worker where it has reported them. ``skew`` is how many
    microseconds that clock was ahead of the control plane's, if a second or more.
    """

    run_id: Id
    order_id: Id
    number: Count
    project: Id
    workflow: str
    status: StatusName
    attempt: Attempts
    priority: Priority
    created: Time
    worker: str | None = None
    started: Time | None = None
    finished: Time | None = None
    start: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    skew: Time | None = None
    revision: Count = 0
    not_before: Time | None = None
    start_by: Time | None = None
    retries: Count = 0


class OrderState(Payload, frozen=True, omit_defaults=False):
    """The state of an order: that of its last run. ``unique`` is its key, if it has one.

    ``erased`` is when its states and logs were deleted.
    ``revision`` is as that of a run.
    """

    order_id: Id
    project: Id
    workflow: str
    status: StatusName
    priority: Priority
    created: Time
    runs: Count
    reason: str | None = None
    last_run: str | None = None
    unique: str | None = None
    tags: list[str] = msgspec.field(default_factory=list)
    erased: Time | None = None
    revision: Count = 0


class Alert(Payload, frozen=True, omit_defaults=False):
    """An alert: a run that ended as exception or lost."""

    run_id: Id
    order_id: Id
    project: Id
    workflow: str
    status: StatusName
    at: Time
    error_type: str | None = None
    error_message: str | None = None
    worker: str | None = None


class RunEvents(Payload, frozen=True):
    """Accepted events of a run, in order, without their dataclips."""

    run_id: Id
    attempt: Attempts
    events: list[Raw]
