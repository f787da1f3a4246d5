"""The messages of operators: pauses, acknowledged alerts, and changes of many orders."""

from __future__ import annotations

from typing import Any, Literal

from worker.fleet.messaging.client_messages import Empty, OrderQuery
from worker.fleet.messaging.messages import Count, Id, Label, Payload

MAX_STEP = 200
"""The most orders that one request changes: a larger transaction would hold up the fleet."""


class PauseRequest(Payload, frozen=True):
    """A request to pause or resume a workflow, in one project or in all, or a whole project.

    The runs of what is paused wait; those that a worker has go on.
    """

    workflow: Label | None = None
    project: Id | None = None


class ActionQuery(Payload, frozen=True):
    """A query for who did what, in one project or in all."""

    project: Id | None = None


class AcknowledgeRequest(Payload, frozen=True):
    """A request to record that somebody takes care of the alert of a run."""

    run_id: Id


class EraseRequest(Payload, frozen=True):
    """A request to delete the states and logs of an order that has ended, wherever they are."""

    order_id: Id


class BulkRequest(OrderQuery, frozen=True, kw_only=True):
    """A request to cancel or retry the orders that match, the first received first.

    One request changes the first orders, up to ``limit``, after ``after`` (a ``created`` time) and
    ``after_id``; the reply has those of the last one in ``next``, until nothing is left. ``batch``
    is the idempotency key of all requests of one change. A ``dry_run`` counts and changes nothing.
    """

    action: Literal["cancel", "retry"]
    batch: Id
    dry_run: bool = False
    after: Count | None = None
    after_id: Id | None = None


OPERATION_REQUESTS: dict[str, type[Any]] = {
    "pause": PauseRequest,
    "resume": PauseRequest,
    "pauses": Empty,
    "actions": ActionQuery,
    "acknowledge": AcknowledgeRequest,
    "bulk": BulkRequest,
    "erase": EraseRequest,
}
"""The requests of operators, by the last level of their topic."""
