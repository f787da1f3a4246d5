"""Queries for clients. They change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, select

from worker.core.events import DATACLIP_FIELDS, AnyEvent, StepStart, decode_leniently
from worker.core.execution import Execution, executions
from worker.fleet.control.entities import RunPhase, RunRecord
from worker.fleet.control.placement import decode_words
from worker.fleet.control.store import tables
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.store.rows import run_of
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.messaging.client_messages import EventQuery, OrderQuery

_EVENTS, _RUNS, _ORDERS = tables.EVENTS.c, tables.RUNS.c, tables.ORDERS.c
_OF_ORDER = Prepared(
    select(tables.RUNS).where(_RUNS.order_id == bindparam("order")).order_by(_RUNS.number)
)
# Built once: that takes longer than to execute them.
_EVENTS_ALONE = (
    select(_EVENTS.type, _EVENTS.body)
    .where(
        _EVENTS.run_id == bindparam("run"),
        _EVENTS.attempt == bindparam("attempt"),
        _EVENTS.seq > bindparam("after"),
    )
    .order_by(_EVENTS.seq)
    .limit(bindparam("limit"))
)
_EVENTS_WITH_CLIPS = _EVENTS_ALONE.add_columns(tables.DATACLIPS.c.text).outerjoin_from(
    tables.EVENTS,
    tables.DATACLIPS,
    (tables.DATACLIPS.c.owner == _EVENTS.run_id) & (tables.DATACLIPS.c.id == _EVENTS.clip),
)
MAX_ALERTS = 200
MAX_STEPS = 5_000
"""The most executions of a run that are listed: a run may have 250,000, which take seconds."""
MAX_SEARCHED = 20_000
"""The executions, from the first one on, among which the first one of a step is looked for."""
# A page of large dataclips must fit into one message.
MAX_PAGE_BYTES = 8 * 1024 * 1024


def matching_runs(query: OrderQuery) -> Select[Any]:
    """Select the runs that match a query, all of them and in no order."""
    matching = select(tables.RUNS)
    for name in ("status", "project", "workflow"):
        if (value := getattr(query, name)) is not None:
            matching = matching.where(_RUNS[name] == value)
    if query.since is not None:
        matching = matching.where(_RUNS.created >= query.since)
    if query.until is not None:
        matching = matching.where(_RUNS.created < query.until)
    return matching


def runs_of(connection: Connection, order_id: str) -> list[RunRecord]:
    return [run_of(row) for row in _OF_ORDER.rows(connection, {"order": order_id})]


def events_of(connection: Connection, run: RunRecord, query: EventQuery) -> list[msgspec.Raw]:
    """Read a page of events of a run's last attempt, in order.

    An empty result means that there are no further events.
    """
    page = {"run": run.id, "attempt": run.attempt, "after": query.after, "limit": query.limit}
    rows = connection.execute(_EVENTS_WITH_CLIPS if query.clips else _EVENTS_ALONE, page)
    # One by one: all dataclips of a page may be much more than what fits.
    return list(_page(MAX_PAGE_BYTES, (_event(*row) for row in rows)))


def _page(limit_bytes: int, events: Iterable[msgspec.Raw]) -> Iterator[msgspec.Raw]:
    """Yield the first event, and more while the total size is within the limit."""
    for number, event in enumerate(events):
        limit_bytes -= len(bytes(event))
        if number and limit_bytes < 0:
            return
        yield event


def _event(type: str, body: str, clip: str | None = None) -> msgspec.Raw:
    name = DATACLIP_FIELDS.get(type)
    if name and clip is not None:
        # Spliced in as text: to parse and encode a large dataclip again would be slow.
        body = f'{body[:-1]},"{name}":{clip}}}'
    return msgspec.Raw(body.encode())


def steps_of(connection: Connection, run: RunRecord) -> list[dict[str, Any]]:
    """List the last executions of a run's steps in order, each with its outcome and dataclips."""
    newest = _events_of_types(run, ("step:start", "step:complete")).order_by(_EVENTS.seq.desc())
    # To the end, as the steps that run now and those that failed are there.
    rows = connection.execute(newest.limit(2 * MAX_STEPS)).scalars().all()
    return [_step(execution) for execution in executions(_decoded(reversed(rows)))]


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


def _events_of_types(run: RunRecord, types: Sequence[str]) -> Select[Any]:
    return select(_EVENTS.body).where(
        _EVENTS.run_id == run.id, _EVENTS.attempt == run.attempt, _EVENTS.type.in_(types)
    )


def _decoded(bodies: Iterable[str]) -> Iterator[AnyEvent]:
    return (event for body in bodies if (event := decode_leniently(body)) is not None)


def input_of(transaction: Transaction, run: RunRecord, step: str) -> str | None:
    """Find where the input of a step's first execution is stored, as ``owner/id``.

    ``None`` where the step did not run, or not soon enough; empty where its input was withheld.
    """
    oldest = _events_of_types(run, ("step:start",)).order_by(_EVENTS.seq).limit(MAX_SEARCHED)
    events = _decoded(transaction.connection.execute(oldest).scalars())
    starts = [event for event in events if isinstance(event, StepStart)]
    first = next((start for start in starts if start.job_id == step), None)
    if first is None:
        return None
    dataclip_id = first.input_dataclip_id
    # The first step's input is that of the run, which belongs to the order.
    if dataclip_id == starts[0].input_dataclip_id:
        return run.input
    stored = transaction.dataclip(run.id, dataclip_id) is not None
    return f"{run.id}/{dataclip_id}" if stored else ""


def count_stale_reports(connection: Connection, run_id: str) -> int:
    count = select(func.count()).where(tables.STALE_REPORTS.c.run_id == run_id)
    return int(connection.execute(count).scalar_one())


def workers(connection: Connection) -> list[dict[str, Any]]:
    """List the workers, each with its leases."""
    leases = select(_RUNS.worker, _RUNS.id, _RUNS.status, _RUNS.expires).where(
        _RUNS.phase.in_((RunPhase.CLAIMED.value, RunPhase.STARTED.value))
    )
    by_worker: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(leases):
        by_worker.setdefault(row.worker, []).append(
            {"run_id": row.id, "status": row.status, "expires": row.expires}
        )
    rows = connection.execute(select(tables.WORKERS).order_by(tables.WORKERS.c.name)).mappings()
    return [
        {**row, "offers": sorted(decode_words(row["offers"] or "")),
         "leases": by_worker.get(row["name"], [])}
        for row in rows
    ]  # fmt: skip


def alerts(connection: Connection) -> list[str]:
    """List the run ids of the newest alerts."""
    newest = select(tables.ALERTS.c.run_id).order_by(tables.ALERTS.c.at.desc()).limit(MAX_ALERTS)
    return list(connection.execute(newest).scalars())


def summary(connection: Connection) -> dict[str, Any]:
    """Count orders by status, waiting and leased runs, and workers online."""
    statuses = select(_ORDERS.status, func.count()).group_by(_ORDERS.status)
    phases = select(_RUNS.phase, func.count()).where(
        _RUNS.phase.in_([phase.value for phase in RunPhase if phase is not RunPhase.FINAL])
    )
    runs = {row.phase: int(row[1]) for row in connection.execute(phases.group_by(_RUNS.phase))}
    online = select(func.count()).where(tables.WORKERS.c.online)
    return {
        "orders": {row.status: row[1] for row in connection.execute(statuses)},
        "available": runs.get(RunPhase.AVAILABLE.value, 0),
        "delayed": runs.get(RunPhase.DELAYED.value, 0),
        "leased": runs.get(RunPhase.CLAIMED.value, 0) + runs.get(RunPhase.STARTED.value, 0),
        "workers": int(connection.execute(online).scalar_one()),
    }
