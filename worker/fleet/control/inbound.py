"""Parsing of inbound messages: their type, their content, and the ids that they refer to.

A batch is parsed before any of it is handled, so that its rows are read in one query per table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from worker.fleet.control.unit_of_work import MessageRefused
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.client_messages import RunRef, Submit
from worker.fleet.messaging.content import MAX_MESSAGE_BYTES
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.trigger_messages import ALL_REQUESTS
from worker.fleet.messaging.worker_protocol import (
    FROM_WORKERS,
    Fetch,
    Heartbeat,
    Release,
    Reports,
    StartRequest,
)

MAX_CORRELATION_BYTES = 1024
"""The correlation data of a request, which come back in each packet of its reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """A parsed message: a ``client``'s request (``method``), or a ``worker``'s on a ``channel``.

    ``content`` is its decoded payload, unless there is a ``refusal``.
    """

    message: Message
    method: str = ""
    client: str = ""
    worker: str = ""
    channel: str = ""
    content: Any = None
    refusal: MessageRefused | None = None

    @property
    def request_id(self) -> str:
        """An id that all transmissions of a request share; empty without correlation data."""
        correlation = self.message.correlation
        return hashlib.sha256(correlation).hexdigest() if correlation else ""


class MessageParser:
    """A parser for messages of up to ``max_bytes`` bytes."""

    def __init__(self, topics: Topics, max_bytes: int) -> None:
        self._topics = topics
        self._max_bytes = max_bytes

    def parse(self, message: Message) -> InboundMessage | None:
        """Parse or refuse a message; ``None`` for a retained one that was cleared."""
        match self._topics.parse(message.topic):
            case ("requests", method, client):
                return replace(self._request(message, method), client=client)
            # An empty retained message deletes the one that the broker stores.
            case ("workers", _, "status") if not message.payload:
                return None
            case ("workers", name, channel):
                content, refusal = self._decode(FROM_WORKERS[channel], message)
                return InboundMessage(
                    message=message, worker=name, channel=channel, content=content, refusal=refusal
                )
            case _:
                refusal = MessageRefused("unknown", "unknown topic")
                return InboundMessage(message=message, refusal=refusal)

    def _request(self, message: Message, method: str) -> InboundMessage:
        # An order without a response topic needs no reply: MQTT 3.1.1 has no such topics.
        needs_reply = message.reply_to or method != "submit"
        # Without a method there is no reply: a reply to a worker's topic would be a command.
        if needs_reply and not self._topics.is_reply_topic(message.reply_to):
            text = f"not a reply topic: {message.reply_to[:100]!r}"
            return InboundMessage(message=message, refusal=MessageRefused("reply_topic", text))
        if len(message.correlation) > MAX_CORRELATION_BYTES:
            text = (
                f"correlation data of {len(message.correlation):,} bytes, and the limit is "
                f"{MAX_CORRELATION_BYTES:,}"
            )
            return InboundMessage(message=message, refusal=MessageRefused("oversized", text))
        if method not in ALL_REQUESTS:
            refusal = MessageRefused("unknown", f"unknown request '{method[:100]}'")
            return InboundMessage(message=message, method=method, refusal=refusal)
        content, refused = self._decode(ALL_REQUESTS[method], message)
        return InboundMessage(message=message, method=method, content=content, refusal=refused)

    def _decode(self, type: type[Any], message: Message) -> tuple[Any, MessageRefused | None]:
        size = len(message.payload)
        # A chunk in base64 may be larger than the content that it belongs to.
        limit = max(self._max_bytes, MAX_MESSAGE_BYTES) if type is wire.Chunk else self._max_bytes
        if size > limit:
            text = f"{size:,} bytes, and the limit is {limit:,} (--payload-limit)"
            return None, MessageRefused("oversized", text)
        try:
            return wire.decode(type, message.payload), None
        except wire.WireError as error:
            return None, MessageRefused("malformed", str(error)[:500])


def run_ids_of(inbound: InboundMessage) -> Iterator[str]:
    """Yield the ids of the runs whose rows the handler of a message reads."""
    match inbound.content:
        case Reports(runs=reports):
            yield from (report.lease.run_id for report in reports)
        case StartRequest(leases=leases) | Heartbeat(leases=leases):
            yield from (lease.run_id for lease in leases)
        case Fetch(lease=lease):
            yield lease.run_id
        case Release(leases=leases, aborted=aborted):
            yield from (lease.run_id for lease in (*leases, *aborted))
        case RunRef(id=id):
            yield id
        case Submit(order_id=id) if id:
            yield from (id, numbered_run_id(id))
        case _:
            return


def order_ids_of(inbound: InboundMessage) -> Iterator[str]:
    """Yield the ids of the orders that a message refers to, beside those of its runs."""
    if isinstance(inbound.content, Submit) and inbound.content.order_id:
        yield from (inbound.content.order_id, numbered_run_id(inbound.content.order_id))


def numbered_run_id(order_id: str, number: int = 1) -> str:
    """Derive the id of an order's first or later run, for use unless it is taken.

    Orders and runs never share an id, so that a request can name either.
    """
    suffix = f"-{number}"
    return f"{order_id[: 64 - len(suffix)]}{suffix}"
