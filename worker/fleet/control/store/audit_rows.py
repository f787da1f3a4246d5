"""Orders, runs and events of a control plane's database for an audit: read, never written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from worker.audit.order_laws import AuditedOrder, AuditedRun
from worker.core.events import AnyEvent, decode_leniently
from worker.core.status import Status
from worker.fleet.control.store import tables
from worker.fleet.control.store.reading import reading

BATCH_ORDERS = 100
"""Orders whose events are in memory at a time."""

_ORDERS, _RUNS, _EVENTS = tables.ORDERS.c, tables.RUNS.c, tables.EVENTS.c


def read_orders(url: str) -> Iterator[AuditedOrder]:
    """Yield the orders of a database, all as they are at one moment.

    Raises :class:`UsageError` for a URL of no database, and :class:`StoreError` where it cannot be
    read.
    """
    with reading(url) as connection:
        yield from _orders(connection)


def _orders(connection: Connection) -> Iterator[AuditedOrder]:
    last = ""
    columns = (_ORDERS.id, _ORDERS.status, _ORDERS.last_run)
    while True:
        page = select(*columns).where(_ORDERS.id > last).order_by(_ORDERS.id).limit(BATCH_ORDERS)
        orders = connection.execute(page).all()
        if not orders:
            return
        last = orders[-1].id
        runs = _runs(connection, [order.id for order in orders])
        for order in orders:
            yield AuditedOrder(
                id=order.id,
                status=Status(order.status),
                last_run=order.last_run,
                runs=tuple(runs[order.id]),
            )


def _runs(connection: Connection, orders: Sequence[str]) -> dict[str, list[AuditedRun]]:
    columns = (
        *(_RUNS.id, _RUNS.order_id, _RUNS.number, _RUNS.phase, _RUNS.status),
        *(_RUNS.attempt, _RUNS.error_type),
    )
    rows = connection.execute(select(*columns).where(_RUNS.order_id.in_(orders))).all()
    ids = [row.id for row in rows]
    events = _events(connection, ids)
    alerts = tables.ALERTS.c.run_id
    alerted = set(connection.execute(select(alerts).where(alerts.in_(ids))).scalars())
    runs: dict[str, list[AuditedRun]] = defaultdict(list)
    for row in rows:
        runs[row.order_id].append(
            AuditedRun(
                id=row.id,
                number=row.number,
                phase=row.phase,
                status=Status(row.status),
                error_type=row.error_type,
                has_alert=row.id in alerted,
                events=tuple(events[row.id, row.attempt]),
            )
        )
    return runs


def _events(connection: Connection, runs: Sequence[str]) -> dict[tuple[str, int], list[AnyEvent]]:
    rows = (
        select(_EVENTS.run_id, _EVENTS.attempt, _EVENTS.body)
        .where(_EVENTS.run_id.in_(runs))
        .order_by(_EVENTS.run_id, _EVENTS.attempt, _EVENTS.seq)
    )
    events: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for row in connection.execute(rows):
        event = decode_leniently(row.body)
        if event is not None:
            events[row.run_id, row.attempt].append(event)
    return events
