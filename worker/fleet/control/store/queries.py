"""What clients may ask of the store. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from worker.core.events import DATACLIP_FIELDS, AnyEvent, decode_leniently
from worker.core.execution import Execution, executions
from worker.fleet.control.entities import RunPhase, RunRecord, WorkOrder
from worker.fleet.control.store import tables
from worker.fleet.control.store.rows import order_of, run_of
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.messaging.messages import EventQuery, OrderQuery

_EVENTS, _RUNS, _ORDERS = tables.EVENTS.c, tables.RUNS.c, tables.ORDERS.c
ALERTS_SHOWN = 200
PAGE_BYTES = 8 * 1024 * 1024


def orders(connection: Connection, query: OrderQuery) -> list[WorkOrder]:
    """Orders, newest first."""
    found = select(tables.ORDERS).order_by(_ORDERS.created.desc(), _ORDERS.id).limit(query.limit)
    if query.status is not None:
        found = found.where(_ORDERS.status == query.status)
    if query.project is not None:
        found = found.where(_ORDERS.project == query.project)
    if query.workflow is not None:
        found = found.where(_ORDERS.workflow == query.workflow)
    if query.before is not None:
        older = _ORDERS.created < query.before
        if query.beyond is not None:
            older |= (_ORDERS.created == query.before) & (_ORDERS.id > query.beyond)
        found = found.where(older)
    if query.search:
        found = found.where(
            _ORDERS.id.icontains(query.search, autoescape=True)
            | _ORDERS.workflow.icontains(query.search, autoescape=True)
        )
    return [order_of(row) for row in connection.execute(found).mappings()]


def runs_of(connection: Connection, order_id: str) -> list[RunRecord]:
    found = select(tables.RUNS).where(_RUNS.order_id == order_id).order_by(_RUNS.number)
    return [run_of(row) for row in connection.execute(found).mappings()]


def events_of(connection: Connection, run: RunRecord, query: EventQuery) -> list[msgspec.Raw]:
    """Events of a run's last attempt, in order: as many as are asked for, or as fit into an answer.
    There are no more when there is none."""
    found = (
        select(tables.EVENTS, tables.CLIPS.c.text)
        .outerjoin(
            tables.CLIPS,
            (tables.CLIPS.c.owner == _EVENTS.run_id) & (tables.CLIPS.c.id == _EVENTS.clip),
        )
        .where(_EVENTS.run_id == run.id, _EVENTS.attempt == run.attempt, _EVENTS.seq > query.after)
        .order_by(_EVENTS.seq)
        .limit(query.limit)
    )
    if not query.clips:
        found = found.with_only_columns(_EVENTS.type, _EVENTS.body)
    return list(_within(PAGE_BYTES, (_event(row._mapping) for row in connection.execute(found))))


def _within(limit: int, events: Iterable[msgspec.Raw]) -> Iterator[msgspec.Raw]:
    """The first, and more as long as they have ``limit`` bytes in sum."""
    for number, event in enumerate(events):
        limit -= len(bytes(event))
        if number and limit < 0:
            return
        yield event


def _event(row: Any) -> msgspec.Raw:
    body, name = row["body"], DATACLIP_FIELDS.get(row["type"])
    if name and row.get("text") is not None:
        body = f'{body[:-1]},"{name}":{row["text"]}}}'
    return msgspec.Raw(body.encode())


def steps_of(connection: Connection, run: RunRecord) -> list[dict[str, Any]]:
    """The executions of a run's steps, in order: what began, how it ended, and its dataclips."""
    return [
        _step(one) for one in executions(_events(connection, run, ("step:start", "step:complete")))
    ]


def _step(execution: Execution) -> dict[str, Any]:
    start, complete = execution.start, execution.complete
    fields = {
        "step_id": start.step_id,
        "job_id": start.job_id,
        "execution": start.execution,
        "started": start.timestamp,
        "input_dataclip_id": start.input_dataclip_id,
    }
    if complete is None:
        return fields
    return {
        **fields,
        "reason": complete.reason,
        "error_type": complete.error_type,
        "error_message": complete.error_message,
        "output_dataclip_id": complete.output_dataclip_id,
        "next": complete.next,
        "duration": complete.duration,
        "mem": complete.mem,
        "withheld": complete.withheld,
        "completed_seq": complete.seq,
    }


def _events(connection: Connection, run: RunRecord, types: Sequence[str]) -> list[AnyEvent]:
    found = (
        select(_EVENTS.body)
        .where(_EVENTS.run_id == run.id, _EVENTS.attempt == run.attempt, _EVENTS.type.in_(types))
        .order_by(_EVENTS.seq)
    )
    events = (decode_leniently(body) for body in connection.execute(found).scalars())
    return [event for event in events if event is not None]


def input_of(work: Transaction, run: RunRecord, step: str) -> str:
    """Where the input of a step's first execution is kept, as ``owner/id``; empty: nowhere."""
    started = executions(_events(work.connection, run, ("step:start",)))
    wanted = next((one.start for one in started if one.job_id == step), None)
    if wanted is None:
        return ""
    clip = wanted.input_dataclip_id
    if clip == started[0].start.input_dataclip_id:
        return run.input
    return f"{run.id}/{clip}" if work.clip(run.id, clip) is not None else ""


def stale_of(connection: Connection, run_id: str) -> int:
    found = select(func.count()).where(tables.STALE.c.run_id == run_id)
    return int(connection.execute(found).scalar_one())


def workers(connection: Connection) -> list[dict[str, Any]]:
    """The workers, and the runs that they have leases of."""
    leases = select(_RUNS.worker, _RUNS.id, _RUNS.status, _RUNS.expires).where(
        _RUNS.phase.in_((RunPhase.CLAIMED.value, RunPhase.STARTED.value))
    )
    held: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(leases):
        held.setdefault(row.worker, []).append(
            {"run_id": row.id, "status": row.status, "expires": row.expires}
        )
    found = connection.execute(select(tables.WORKERS).order_by(tables.WORKERS.c.name)).mappings()
    return [{**row, "leases": held.get(row["name"], [])} for row in found]


def alerts(connection: Connection) -> list[str]:
    """The runs of the newest alerts."""
    found = select(tables.ALERTS.c.run_id).order_by(tables.ALERTS.c.at.desc()).limit(ALERTS_SHOWN)
    return list(connection.execute(found).scalars())


def summary(connection: Connection) -> dict[str, Any]:
    """Orders by status, runs that wait and that go, and how many workers are there."""
    statuses = select(_ORDERS.status, func.count()).group_by(_ORDERS.status)
    lanes = select(
        func.coalesce(func.sum(tables.LANES.c.available), 0),
        func.coalesce(func.sum(tables.LANES.c.leased), 0),
    )
    available, leased = connection.execute(lanes).one()
    online = select(func.count()).where(tables.WORKERS.c.online)
    return {
        "orders": {row.status: row[1] for row in connection.execute(statuses)},
        "available": int(available),
        "leased": int(leased),
        "workers": int(connection.execute(online).scalar_one()),
    }
