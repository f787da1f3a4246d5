"""Content that an order is submitted with: its checks, its hash, and the id derived from it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from worker.errors import UsageError
from worker.fleet.control.entities import WorkOrder
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.client_messages import Submit
from worker.sandbox.limits import resolve_limits

DEDUPLICATION_S = 60.0
"""How long an order without an id is taken for a repetition of one with the same content."""

# Without the times: a client that repeats an order may compute them anew.
_HASHED = ("unique", "over_limit", "tags", "retry", "placement")


def content_hash(request: Submit) -> str:
    """Compute a hash of what an order was submitted with, apart from its id."""
    try:
        content = [
            request.workflow,
            msgspec.json.decode(bytes(request.plan)),
            msgspec.json.decode(bytes(request.input)),
            request.project,
            request.priority,
            msgspec.to_builtins(request.options),
            # Only where there are any: the hashes of earlier versions had none.
            *((name, value) for name in _HASHED if (value := getattr(request, name))),
        ]
        # Sorted, because objects with the same members are the same content.
        encoded = msgspec.json.encode(content, order="sorted")
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise RequestError("invalid", f"the order cannot be read: {error}") from error
    return hashlib.sha256(encoded).hexdigest()


def derived_id(uow: UnitOfWork, request: Submit) -> str:
    """Return the id of an order without one: that of an equal order of the last minute, or new."""
    content, window_us = content_hash(request)[:40], int(DEDUPLICATION_S * 1e6)
    window = uow.now_us // window_us
    before = uow.transaction.order(f"{content}-{window - 1}")
    if before is not None and before.created > uow.now_us - window_us:
        return before.id
    return f"{content}-{window}"


def conflict_message(order: WorkOrder, content: str) -> str:
    """Write the refusal of an id that was used for other content; ``content`` is its hash."""
    return (
        f"order {order.id} was submitted with other content: {(order.content or '')[:16]}, and "
        f"here it is {content[:16]} (hashes of workflow, input, project, options and priority): "
        "choose another id"
    )


def checked_input(raw: msgspec.Raw) -> str:
    """Return an input as text. Raises :class:`RequestError` where it is not a JSON object."""
    try:
        state = msgspec.json.decode(bytes(raw))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RequestError("invalid", f"the input cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise RequestError("invalid", 'input: expected a JSON object, such as {"data": {}}')
    return bytes(raw).decode()


def check_limits(options: wire.RunOptions) -> None:
    """Raise :class:`RequestError` where a limit is out of its range."""
    try:
        resolve_limits({}, options.limits())
    except UsageError as error:
        raise RequestError("invalid", f"options.{error}") from error


def check_times(request: Submit) -> None:
    """Raise :class:`RequestError` where an order could never start."""
    if request.start_by is not None and request.start_by < (request.not_before or 0):
        raise RequestError("invalid", "start_by is before not_before: the order could never start")


def join_tags(tags: Sequence[str]) -> str:
    """Join tags as they are stored: sorted, with a space around each."""
    return f" {' '.join(sorted(set(tags)))} " if tags else ""
