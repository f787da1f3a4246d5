"""Reading messages, before anything is done about them: what they are, and what they concern.

All messages of a batch are read first, so that what they concern is fetched in one go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from worker.fleet.control.unit_of_work import MessageRefused
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.topics import Topics


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """A message that was read. ``method`` is set for a request, ``worker`` for a word of one;
    ``shape`` is what it says, unless there is a ``refusal``."""

    message: Message
    method: str = ""
    worker: str = ""
    what: str = ""
    shape: Any = None
    refusal: MessageRefused | None = None


class MessageParser:
    """Reads messages up to ``limit`` bytes."""

    def __init__(self, topics: Topics, limit: int) -> None:
        self._topics = topics
        self._limit = limit

    def read(self, message: Message) -> InboundMessage | None:
        """The message, read or refused; ``None`` for a retained one that was cleared."""
        match self._topics.parse(message.topic):
            case ("requests", method, _):
                return self._request(message, method)
            case ("workers", _, "status") if not message.payload:
                return None
            case ("workers", name, what):
                shape, refusal = self._shape(wire.FROM_WORKERS[what], message)
                return InboundMessage(
                    message=message, worker=name, what=what, shape=shape, refusal=refusal
                )
            case _:
                return InboundMessage(
                    message=message, refusal=MessageRefused("unknown", "no such topic")
                )

    def _request(self, message: Message, method: str) -> InboundMessage:
        if not self._topics.is_reply(message.reply_to):
            text = f"no place for a reply: {message.reply_to[:100]!r}"
            return InboundMessage(message=message, refusal=MessageRefused("reply_topic", text))
        if method not in wire.REQUESTS:
            refusal = MessageRefused("unknown", f"there is no request '{method[:100]}'")
            return InboundMessage(message=message, method=method, refusal=refusal)
        shape, found = self._shape(wire.REQUESTS[method], message)
        return InboundMessage(message=message, method=method, shape=shape, refusal=found)

    def _shape(self, shape: type[Any], message: Message) -> tuple[Any, MessageRefused | None]:
        size = len(message.payload)
        if size > self._limit:
            text = f"{size:,} bytes, and the limit is {self._limit:,}"
            return None, MessageRefused("oversized", text)
        try:
            return wire.decode(shape, message.payload), None
        except wire.WireError as error:
            return None, MessageRefused("malformed", str(error)[:500])


def runs_of(heard: InboundMessage) -> Iterator[str]:
    """The runs that a message is about."""
    match heard.shape:
        case wire.Reports(runs=runs):
            yield from (one.lease.run_id for one in runs)
        case wire.Heartbeat(leases=leases) | wire.Release(leases=leases):
            yield from (one.run_id for one in leases)
        case wire.RunRef(id=id):
            yield id
        case wire.Submit(order_id=id):
            yield from (id, first_run(id))
        case _:
            return


def orders_of(heard: InboundMessage) -> Iterator[str]:
    """The orders that a message is about, beside those of its runs."""
    if isinstance(heard.shape, wire.Submit):
        yield from (heard.shape.order_id, first_run(heard.shape.order_id))


def first_run(order_id: str) -> str:
    """The id of an order's first run, unless that is taken. Orders and runs never share an id, so
    that a request can name either."""
    return f"{order_id[:62]}-1"
