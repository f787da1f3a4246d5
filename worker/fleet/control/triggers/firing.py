"""Orders for what triggers have received: messages, ticks and calls, in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from sqlalchemy import bindparam, delete, select

from worker.core.status import Status
from worker.fleet.control.entities import WorkOrder
from worker.fleet.control.inbound import numbered_run_id
from worker.fleet.control.store import deployments as rows
from worker.fleet.control.store import tables
from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.store.prepared import IsIn, Prepared
from worker.fleet.control.triggers.dead_letters import DeadLetter, store_dead_letter
from worker.fleet.control.triggers.deploying import present_workflow
from worker.fleet.control.triggers.order_result import Fired
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.control.workflow_registry import RegisteredWorkflow
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.client_messages import Submit

_KEYS = tables.TRIGGER_KEYS.c
_KNOWN = Prepared(
    select(_KEYS.key, _KEYS.order_id, _KEYS.expires).where(
        _KEYS.trigger_id == bindparam("trigger"), IsIn(_KEYS.key, "keys")
    )
)
_FORGET = Prepared(
    delete(tables.TRIGGER_KEYS).where(
        _KEYS.trigger_id == bindparam("trigger"),
        IsIn(_KEYS.key, "keys"),
        _KEYS.expires <= bindparam("now"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyAddress:
    """Where the result of an order goes; ``accepted``: as soon as there is the order."""

    topic: str
    correlation: bytes = b""
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Firing:
    """An order to make for a trigger; ``input`` is JSON.

    ``key`` is the idempotency key of a message, which counts for ``window_s`` seconds. ``topic``,
    ``payload``, ``packet`` and ``repeated`` are those of the message, for the dead letter where no
    order can be made.
    """

    trigger: LiveTrigger
    input: bytes
    key: str = ""
    window_s: float = 0.0
    reply: ReplyAddress | None = None
    topic: str = ""
    payload: bytes = b""
    packet: int = 0
    repeated: bool = False

    def as_dead_letter(self, reason: str, message: str) -> DeadLetter:
        """Return the dead letter of an order that cannot be made."""
        return DeadLetter(
            trigger=self.trigger,
            reason=reason,
            message=message,
            topic=self.topic,
            payload=self.payload,
            packet=self.packet,
            repeated=self.repeated,
        )


class OrderMaker(Protocol):
    """The part of the request handler that makes an order of a workflow."""

    def create(
        self, uow: UnitOfWork, request: Submit, workflow: RegisteredWorkflow
    ) -> WorkOrder: ...


def order_id_of(trigger_id: str, key: str) -> str:
    """Derive the id of the order for a message with an idempotency key.

    Whoever published the message can compute it, and see the state of the order on its topic.
    """
    return "t-" + hashlib.sha256(f"{trigger_id}\0{key}".encode()).hexdigest()[:40]


def fire(
    uow: UnitOfWork,
    orders: OrderMaker,
    items: Sequence[Firing | DeadLetter],
    token: Callable[[], str],
) -> list[Fired]:
    """Make the orders of a batch, and store its dead letters. Return an outcome for each."""
    firings = [item for item in items if isinstance(item, Firing)]
    ids = {firing.trigger.id for firing in firings}
    live = rows.live_ids(uow.transaction.connection, ids) if ids else set[str]()
    known = _known_keys(uow, firings)
    order_ids = [_first_order_id(item, token) for item in items]
    _prefetch(uow, order_ids)
    counts: dict[str, int] = {}
    results = []
    for item, order_id in zip(items, order_ids, strict=True):
        if isinstance(item, DeadLetter):
            store_dead_letter(uow, item, token())
            results.append(Fired(failure=item.reason, message=item.message))
            continue
        result = _fire_one(uow, orders, item, live, known, order_id, token)
        results.append(result)
        if result.order_id and not result.repeated:
            counts[item.trigger.id] = counts.get(item.trigger.id, 0) + 1
    # Sorted, so that two control planes lock the rows in the same order.
    for id, count in sorted(counts.items()):
        rows.count_fired(uow.transaction.connection, id, count, uow.now_us)
    return results


def _first_order_id(item: Firing | DeadLetter, token: Callable[[], str]) -> str:
    """Return the id that an order gets, unless it is taken; empty for a dead letter."""
    if isinstance(item, DeadLetter):
        return ""
    return order_id_of(item.trigger.id, item.key) if item.key else token()


def _prefetch(uow: UnitOfWork, order_ids: Sequence[str]) -> None:
    """Read whether the ids of new orders and runs are free, in one query per table."""
    ids = {id for id in order_ids if id}
    ids |= {numbered_run_id(id) for id in ids}
    uow.transaction.load_runs(ids)
    uow.transaction.load_orders(ids)


def _fire_one(
    uow: UnitOfWork,
    orders: OrderMaker,
    firing: Firing,
    live: set[str],
    known: dict[tuple[str, str], str],
    order_id: str,
    token: Callable[[], str],
) -> Fired:
    trigger = firing.trigger
    if trigger.id not in live:
        uow.outgoing.triggered["disabled"] += 1
        return Fired(failure="disabled", message="the trigger is not live any more")
    key = _hashed(firing.key)
    if firing.key and (known_id := known.get((trigger.id, key))):
        uow.outgoing.triggered["repeated"] += 1
        return _repeated(uow, firing, known_id)
    try:
        order = _make_order(uow, orders, firing, order_id, token)
    except RequestError as error:
        store_dead_letter(uow, firing.as_dead_letter(error.code, error.message), token())
        return Fired(failure=error.code, message=error.message)
    if firing.key:
        known[trigger.id, key] = order.id
        _put_key(uow, firing, key, order.id)
    _put_firing(uow, firing, order)
    uow.outgoing.triggered["rejected" if order.status is Status.REJECTED else "fired"] += 1
    return Fired(order_id=order.id, run_id=order.last_run, rejected=order.reason)


def _make_order(
    uow: UnitOfWork,
    orders: OrderMaker,
    firing: Firing,
    order_id: str,
    token: Callable[[], str],
) -> WorkOrder:
    trigger = firing.trigger
    workflow = present_workflow(uow, trigger.project, trigger.workflow)
    if workflow is None:
        raise RequestError("unknown", f"no workflow '{trigger.workflow}' is deployed")
    # A key whose time is over makes a new order, beside that of its first time.
    if firing.key and uow.transaction.order(order_id) is not None:
        order_id = f"{order_id[:31]}-{token()[:32]}"
    request = Submit(
        order_id=order_id,
        workflow=trigger.workflow,
        project=trigger.project,
        input=msgspec.Raw(firing.input),
        options=wire.RunOptions(start=trigger.definition.start),
    )
    return orders.create(uow, request, workflow)


def _repeated(uow: UnitOfWork, firing: Firing, order_id: str) -> Fired:
    order = uow.transaction.order(order_id)
    # The publisher that repeats a message has not seen the reply or the state.
    if order is not None:
        uow.publish_order_state(order)
        _reply_accepted(uow, firing, order)
    return Fired(order_id=order_id, run_id=None if order is None else order.last_run, repeated=True)


def _put_firing(uow: UnitOfWork, firing: Firing, order: WorkOrder) -> None:
    reply = firing.reply
    due = reply is not None and not reply.accepted
    uow.transaction.add(
        "trigger_firings",
        {
            "order_id": order.id,
            "trigger_id": firing.trigger.id,
            "at": uow.now_us,
            "reply_topic": reply.topic if reply is not None and due else "",
            "correlation": reply.correlation.hex() if reply is not None and due else "",
            "reply_due": due,
        },
    )
    _reply_accepted(uow, firing, order)


def _reply_accepted(uow: UnitOfWork, firing: Firing, order: WorkOrder) -> None:
    if firing.reply is not None and firing.reply.accepted:
        uow.reply(firing.reply.topic, firing.reply.correlation, accepted_view(order))


def accepted_view(order: WorkOrder) -> dict[str, Any]:
    """Return what the sender of a message or a call learns of its order."""
    return {
        "work_order_id": order.id,
        "run_id": order.last_run,
        "status": order.status.value,
        "reason": order.reason,
    }


# --- idempotency ----------------------------------------------------------------------------------


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:64] if key else ""


def _known_keys(uow: UnitOfWork, firings: Iterable[Firing]) -> dict[tuple[str, str], str]:
    """Read the orders of a batch's keys, and load them; keys whose time is over are deleted."""
    wanted: dict[str, set[str]] = {}
    for firing in firings:
        if firing.key:
            wanted.setdefault(firing.trigger.id, set()).add(_hashed(firing.key))
    known: dict[tuple[str, str], str] = {}
    for trigger_id, keys in sorted(wanted.items()):
        known |= _known_of(uow, trigger_id, keys)
    uow.transaction.load_orders(known.values())
    return known


def _known_of(uow: UnitOfWork, trigger_id: str, keys: set[str]) -> dict[tuple[str, str], str]:
    connection, of_keys = uow.transaction.connection, {"trigger": trigger_id, "keys": sorted(keys)}
    known, is_over = dict[tuple[str, str], str](), False
    for key, order_id, expires in _KNOWN.rows(connection, of_keys):
        if expires > uow.now_us:
            known[trigger_id, key] = order_id
        else:
            is_over = True
    if is_over:
        _FORGET.change(connection, {**of_keys, "now": uow.now_us})
    return known


def _put_key(uow: UnitOfWork, firing: Firing, key: str, order_id: str) -> None:
    expires = uow.now_us + int(firing.window_s * 1e6)
    # Not with "on conflict do nothing": that of another control plane has to be noticed, and
    # repeats the transaction.
    uow.transaction.add_new(
        "trigger_keys",
        {"trigger_id": firing.trigger.id, "key": key, "order_id": order_id, "expires": expires},
    )


def delete_expired_keys(uow: UnitOfWork) -> None:
    """Delete keys whose time is over."""
    keys = tables.TRIGGER_KEYS
    uow.transaction.connection.execute(delete(keys).where(keys.c.expires <= uow.now_us))
