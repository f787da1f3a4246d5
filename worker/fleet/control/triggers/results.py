"""Results of orders for whoever fired them: the end of a run, its final state, its response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, RowMapping, select, update

from worker.core.status import STATUSES, Status
from worker.fleet.control.store import deployments, tables
from worker.fleet.control.triggers.order_result import OrderResult
from worker.fleet.messaging.trigger_messages import MqttTrigger

MAX_REPLIES = 100
_FINAL = [status.value for status in Status if STATUSES[status].final]
_ORDERS, _RUNS, _FIRINGS = tables.ORDERS, tables.RUNS, tables.TRIGGER_FIRINGS
_EVENTS, _CLIPS = tables.EVENTS, tables.DATACLIPS


@dataclass(frozen=True, slots=True, kw_only=True)
class DueReply:
    """A reply to send: its topic, its correlation data and its content."""

    order_id: str
    topic: str
    correlation: bytes
    content: bytes


def results_of(connection: Connection, order_ids: Sequence[str]) -> dict[str, OrderResult]:
    """Read the results of those orders that have ended."""
    if not order_ids:
        # SQLite would read all orders to find none of these.
        return {}
    ended = (
        select(
            _ORDERS.c.id, _ORDERS.c.status, _ORDERS.c.reason, _RUNS.c.id.label("run_id"),
            _RUNS.c.attempt, _RUNS.c.error_type, _RUNS.c.error_message, _RUNS.c.phase,
        )
        .outerjoin(_RUNS, _RUNS.c.id == _ORDERS.c.last_run)
        .where(_ORDERS.c.id.in_(list(order_ids)), _ORDERS.c.status.in_(_FINAL))
    )  # fmt: skip
    rows = connection.execute(ended).mappings().all()
    states = _final_states(connection, [row["run_id"] for row in rows if row["run_id"]])
    return {row["id"]: _result(row, states) for row in rows}


def _result(row: RowMapping, states: Mapping[str, str]) -> OrderResult:
    return OrderResult(
        order_id=row["id"],
        run_id=row["run_id"],
        status=Status(row["status"]),
        reason=row["reason"],
        error_type=row["error_type"],
        error_message=row["error_message"],
        state=states.get(row["run_id"] or ""),
    )


def _final_states(connection: Connection, run_ids: Sequence[str]) -> dict[str, str]:
    if not run_ids:
        return {}
    of_runs = (
        select(_EVENTS.c.run_id, _CLIPS.c.text)
        .join(_RUNS, (_RUNS.c.id == _EVENTS.c.run_id) & (_RUNS.c.attempt == _EVENTS.c.attempt))
        .join(_CLIPS, (_CLIPS.c.owner == _EVENTS.c.run_id) & (_CLIPS.c.id == _EVENTS.c.clip))
        .where(_EVENTS.c.run_id.in_(run_ids), _EVENTS.c.type == "run:complete")
    )
    return {row.run_id: row.text for row in connection.execute(of_runs)}


def due_replies(connection: Connection) -> list[DueReply]:
    """List replies of ended orders that were not sent yet."""
    # Not a join, which a database may begin with all orders that have ended.
    status = select(_ORDERS.c.status).where(_ORDERS.c.id == _FIRINGS.c.order_id)
    due = (
        select(_FIRINGS)
        .where(_FIRINGS.c.reply_due, status.scalar_subquery().in_(_FINAL))
        .order_by(_FIRINGS.c.at)
        .limit(MAX_REPLIES)
    )
    rows = connection.execute(due).mappings().all()
    results = results_of(connection, [row["order_id"] for row in rows])
    return [
        DueReply(
            order_id=row["order_id"],
            topic=row["reply_topic"],
            correlation=bytes.fromhex(row["correlation"]),
            content=msgspec.json.encode(results[row["order_id"]].view()),
        )
        for row in rows
        if row["order_id"] in results
    ]


def expects_replies(connection: Connection) -> bool:
    """Return True while a live trigger or an order has a reply to send after the end of a run."""
    due = select(_FIRINGS.c.order_id).where(_FIRINGS.c.reply_due).limit(1)
    return connection.execute(due).first() is not None or any(
        isinstance(trigger.definition, MqttTrigger)
        and trigger.definition.reply == "after_completion"
        for trigger in deployments.live_triggers(connection, ("mqtt",))
    )


def mark_replied(connection: Connection, order_ids: Sequence[str]) -> None:
    """Forget the replies of orders, with their addresses, which can lead to a person."""
    sent = update(_FIRINGS).where(_FIRINGS.c.order_id.in_(list(order_ids)))
    connection.execute(sent.values(reply_due=False, reply_topic="", correlation=""))
