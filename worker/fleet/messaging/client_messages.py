"""The messages of clients: work orders, queries, and the replies of the control plane."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from worker.fleet.messaging.messages import (
    NULL,
    WITHOUT_NUL,
    Chunk,
    ContentRef,
    Count,
    Id,
    Label,
    Payload,
    Priority,
    RunOptions,
    StatusName,
)
from worker.workflow.order_retry import OrderRetry

Tag = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\s\x00]*(?!\n)$")]
"""A word by which orders are searched."""


class Submit(Payload, frozen=True):
    """A work order, for the name of a registered workflow or for a plan.

    The client chooses ``order_id``; it is the idempotency key of the request. The same id with the
    same content gets the order as it is; with other content it is a conflict. An order that was
    rejected is submitted again. Without an id, the same content within a minute is one order. A
    publisher that needs no reply sends no response topic: the state of the order is on its topic.
    An order that is too large for a message is a ``content``, which is such an order as JSON.

    The order does not begin before ``not_before``, and is rejected where it has not by
    ``start_by``. At most one order of a project with the same ``unique`` key waits or runs: a newer
    one replaces one that waits, and is rejected while one runs. With ``over_limit: queue`` it waits
    instead of being rejected, here and at the limits of its project. ``retry`` is its retry policy.
    It runs on workers that have all the labels of ``placement``.
    """

    content: ContentRef | None = None
    order_id: Id = ""
    workflow: Label | None = None
    plan: Raw = msgspec.field(default_factory=lambda: NULL)
    input: Raw = msgspec.field(default_factory=lambda: Raw(b"{}"))
    project: Id = "default"
    priority: Priority = 0
    options: RunOptions = RunOptions()
    not_before: Count | None = None
    start_by: Count | None = None
    unique: Label | None = None
    over_limit: Literal["reject", "queue"] | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()
    retry: OrderRetry | None = None
    placement: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()


class OrderQuery(Payload, frozen=True):
    """A query for orders, newest first; those created from ``since`` on and before ``until``.

    For the next page ``before`` is the last order's ``created`` time and ``beyond`` its id. The
    reply to a ``partial`` query has the ``items`` of a part of the orders, and in ``next`` the
    place where the next part begins, null after the last one.
    """

    status: StatusName | None = None
    project: Id | None = None
    workflow: Label | None = None
    tag: Tag | None = None
    since: Count | None = None
    until: Count | None = None
    search: Annotated[str, Meta(max_length=200, pattern=WITHOUT_NUL)] = ""
    before: Count | None = None
    beyond: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    partial: bool = False


class RunQuery(OrderQuery, frozen=True):
    """A query for runs, newest first, by their own fields instead of those of their orders.

    For the next page ``before`` is the last run's ``created`` time and ``beyond`` its id.
    """


class CountQuery(OrderQuery, frozen=True, kw_only=True):
    """A query for how many orders or runs match, counted up to ``at_most``; of all pages."""

    of: Literal["orders", "runs"] = "orders"
    # An unbounded count of a large database would hold up the fleet.
    at_most: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000


class OrderRef(Payload, frozen=True):
    """A reference to an order."""

    order_id: Id


class RunRef(Payload, frozen=True):
    """A reference to a run, or to the last run of an order."""

    id: Id


class EventQuery(Payload, frozen=True):
    """A query for the events of a run after number ``after``; with dataclips if ``clips``."""

    run_id: Id
    after: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    clips: bool = False


class DataclipRef(Payload, frozen=True):
    """A reference to the output of a step, or to the final state, of a run."""

    run_id: Id
    dataclip_id: Id


class RecordedQuery(Payload, frozen=True):
    """A query for the first lines of a recording that came after the event ``after``."""

    run_id: Id
    after: Annotated[int, Meta(ge=-1, le=2**53)] = -1


class RetryRequest(Payload, frozen=True):
    """A request to run an order again: from the start, or from a step with its recorded input.

    The client chooses ``run_id``; it is the idempotency key of the request. With ``latest`` the
    workflow is the one that the control plane knows by now, else that of the run before.
    """

    id: Id
    run_id: Id
    from_step: Annotated[str, Meta(min_length=1, max_length=1000, pattern=WITHOUT_NUL)] | None = (
        None
    )
    latest: bool = False


class Empty(Payload, frozen=True):
    """A request without arguments."""


class WorkflowQuery(Payload, frozen=True):
    """A query for the names of the workflows that orders can name.

    With ``keys`` each workflow comes once, as an object with its name and the other names of it.
    """

    keys: bool = False


class Failure(Payload, frozen=True):
    """The failure of a request.

    ``code``: invalid, unknown, conflict, rejected, too_large, denied.
    """

    code: str
    message: str


class Reply(Payload, frozen=True):
    """The reply to a request: a result, or a failure.

    A result that is too large for a message comes in chunks, each in a reply of its own.
    """

    ok: Raw = msgspec.field(default_factory=lambda: NULL)
    error: Failure | None = None
    chunk: Chunk | None = None


REQUESTS: dict[str, type[Any]] = {
    "submit": Submit,
    "chunk": Chunk,
    "cancel": RunRef,
    "retry": RetryRequest,
    "orders": OrderQuery,
    "order": OrderRef,
    "runs": RunQuery,
    "count": CountQuery,
    "run": RunRef,
    "input": RunRef,
    "events": EventQuery,
    "dataclip": DataclipRef,
    "recorded": RecordedQuery,
    "workers": Empty,
    "alerts": Empty,
    "summary": Empty,
    "workflows": WorkflowQuery,
}
"""The requests of clients, by the last level of their topic."""
