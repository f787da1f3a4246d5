"""Handling of the messages of one batch, in its transaction. A refused message changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from worker.fleet.control import worker_messages
from worker.fleet.control.client_queries import POSTPONABLE, READING
from worker.fleet.control.client_requests import RequestHandler
from worker.fleet.control.inbound import InboundMessage, order_ids_of, run_ids_of
from worker.fleet.control.unit_of_work import MessageRefused, RequestError, UnitOfWork
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.client_messages import Failure, Reply
from worker.fleet.messaging.content import chunks_of
from worker.fleet.messaging.worker_protocol import Heartbeat

_WORKER_HANDLERS: dict[str, Callable[[UnitOfWork, str, Any], None]] = {
    "status": worker_messages.presence,
    "claim": worker_messages.claim,
    "start": worker_messages.start,
    "reports": worker_messages.reports,
    "beat": worker_messages.heartbeat,
    "release": worker_messages.release,
    "fetch": worker_messages.fetch,
    "chunk": worker_messages.chunk,
}


def is_query(message: Message) -> bool:
    """Return True for a request that changes nothing."""
    _, _, method = message.topic.partition("/requests/")
    return method.partition("/")[0] in READING


def is_claim(message: Message) -> bool:
    """Return True for a worker's claim."""
    return message.topic.endswith("/claim")


def handle_all(uow: UnitOfWork, batch: Sequence[InboundMessage], requests: RequestHandler) -> None:
    """Handle parsed messages in their order; queries wait where others took their share of time."""
    _prefetch(uow, batch)
    for inbound in batch:
        uow.topic, uow.is_retained = inbound.message.topic, inbound.message.retain
        try:
            if uow.queries.is_spent and inbound.method in POSTPONABLE:
                _postpone(uow, inbound)
            else:
                _handle(uow, inbound, requests)
        except MessageRefused as refusal:
            uow.refuse(refusal)
    worker_messages.publish_starts(uow)
    uow.outgoing.postponed = uow.queries.postponed


def _prefetch(uow: UnitOfWork, batch: Sequence[InboundMessage]) -> None:
    """Read the rows that a batch refers to, in one query per table."""
    transaction = uow.transaction
    queries = [inbound for inbound in batch if inbound.method in READING]
    batch = [inbound for inbound in batch if inbound.method not in READING]
    transaction.load_runs(id for inbound in batch for id in run_ids_of(inbound))
    # The renewal of a lease concerns no order.
    changing = {id for inbound in batch if not _is_heartbeat(inbound) for id in run_ids_of(inbound)}
    of_runs = {run.order_id for run in transaction.known_runs() if run.id in changing}
    transaction.load_orders(of_runs.union(id for inbound in batch for id in order_ids_of(inbound)))
    run_ids = {id for inbound in queries for id in run_ids_of(inbound)}
    with transaction.reading():
        transaction.load_runs(run_ids)
        runs = [run for id in run_ids if (run := transaction.run(id)) is not None]
        transaction.load_orders(run.order_id for run in runs)


def _is_heartbeat(inbound: InboundMessage) -> bool:
    return isinstance(inbound.content, Heartbeat)


def _postpone(uow: UnitOfWork, inbound: InboundMessage) -> None:
    """Let a query wait for the next batch. Raises :class:`MessageRefused` where many wait."""
    if not uow.queries.postpone(inbound.message):
        raise MessageRefused("busy", "more queries than can wait: the client sends it again")


def _handle(uow: UnitOfWork, inbound: InboundMessage, requests: RequestHandler) -> None:
    if inbound.method:
        _handle_request(uow, inbound, requests)
    elif inbound.refusal is not None:
        if inbound.channel == "reports":
            reason = f"{inbound.refusal.kind}: {inbound.refusal.message}"
            payload = inbound.message.payload
            worker_messages.unreadable_reports(uow, inbound.worker, payload, reason)
        raise inbound.refusal
    else:
        _WORKER_HANDLERS[inbound.channel](uow, inbound.worker, inbound.content)


def _handle_request(uow: UnitOfWork, inbound: InboundMessage, requests: RequestHandler) -> None:
    try:
        if inbound.refusal is not None:
            raise inbound.refusal
        uow.request_id, uow.reply_to = inbound.request_id, inbound.message.reply_to
        is_reading = inbound.method in READING
        with uow.transaction.reading() if is_reading else contextlib.nullcontext():
            result = requests.handle(uow, inbound.client, inbound.method, inbound.content)
        encoded = wire.encode(result)
        uow.queries.add_reply(len(encoded))
        reply = Reply(ok=msgspec.Raw(encoded))
    except RequestError as error:
        reply = _failure(error.code, error.message)
    except MessageRefused as refusal:
        uow.refuse(refusal)
        code = {"oversized": "too_large", "unknown": "unknown"}.get(refusal.kind, "invalid")
        reply = _failure(code, refusal.message)
    message = inbound.message
    if not message.reply_to:
        # Nobody waits for the failure, so it is recorded as a refusal of the message.
        if reply.error is not None and inbound.refusal is None:
            uow.refuse(MessageRefused(reply.error.code, reply.error.message))
        return
    for part in _replies(reply, uow.settings.max_message_bytes):
        uow.outgoing.messages.append(
            Message(
                topic=message.reply_to,
                payload=wire.encode(part),
                correlation=message.correlation,
                bulk=part.chunk is not None,
            )
        )


def _replies(reply: Reply, max_bytes: int) -> Iterable[Reply]:
    """Return a reply, or the replies with its chunks where it is too large for a message."""
    if len(wire.encode(reply)) <= max_bytes:
        return [reply]
    return [Reply(chunk=chunk) for chunk in chunks_of(bytes(reply.ok), max_bytes)]


def _failure(code: str, message: str) -> Reply:
    return Reply(error=Failure(code=code, message=message))
