"""Handlers of client queries: they change nothing. Each returns the JSON result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Table

from worker.fleet.control import audit_log, views
from worker.fleet.control.entities import RunRecord, WorkOrder
from worker.fleet.control.operator_requests import acknowledgements
from worker.fleet.control.placement import decode_words
from worker.fleet.control.query_budget import TOO_MANY_ROWS
from worker.fleet.control.run_content import input_of
from worker.fleet.control.store import queries, tables
from worker.fleet.control.store.listing import MAX_PARTS, Listing, Place
from worker.fleet.control.store.recorded_requests import next_recorded
from worker.fleet.control.store.rows import order_of, run_of
from worker.fleet.control.unit_of_work import RequestError, UnitOfWork
from worker.fleet.messaging.client_messages import (
    CountQuery,
    DataclipRef,
    Empty,
    EventQuery,
    OrderQuery,
    OrderRef,
    RecordedQuery,
    RunQuery,
    RunRef,
)

READING = frozenset(
    (
        *("orders", "order", "runs", "count", "run", "input", "events", "dataclip", "recorded"),
        *("workers", "alerts", "summary"),
    )
)
"""The requests that change nothing, and lock nothing: there are many while clients follow runs."""
POSTPONABLE = READING | {"bulk"}
"""The requests that wait for the next batch where those before have taken their share of one."""
STEP_ROWS = 4
"""How many rows are searched in the time in which a step of a run is decoded, or more."""
View = Callable[[tuple[Any, ...]], Any]


def find_order(uow: UnitOfWork, id: str) -> tuple[WorkOrder, RunRecord | None]:
    """Find the run with an id and its order, or the order with that id and its last run."""
    run = uow.transaction.run(id)
    order = uow.transaction.order(id if run is None else run.order_id)
    if order is None:
        raise RequestError("unknown", f"there is no run and no order '{id}'")
    if run is None and order.last_run is not None:
        run = uow.transaction.run(order.last_run)
    return order, run


def find_run(uow: UnitOfWork, id: str) -> RunRecord:
    """Find the run with an id, or the last run of the order with that id."""
    order, run = find_order(uow, id)
    if run is None:
        raise RequestError("unknown", f"order {id} has no run: it was {order.status.value}")
    return run


def order_view(uow: UnitOfWork, order: WorkOrder) -> dict[str, Any]:
    last = uow.transaction.run(order.last_run) if order.last_run else None
    view: dict[str, Any] = msgspec.to_builtins(views.order_state(order))
    return {**view, "run": None if last is None else views.run_state(last)}


def list_orders(uow: UnitOfWork, query: OrderQuery) -> Any:
    return _list(uow, query, tables.ORDERS, lambda row: views.order_state(order_of(row)))


def _list(uow: UnitOfWork, query: OrderQuery, table: Table, view: View) -> Any:
    """List the rows that match, or, if ``partial``, those of one part and where the next begins."""
    listing = Listing(table, query)
    items: list[Any] = []
    for _ in range(MAX_PARTS):
        part = listing.part(uow.transaction.connection, query.limit - len(items))
        uow.queries.add_rows(listing.part_rows)
        items += (view(tuple(row)) for row in part.rows)
        if query.partial:
            return {"items": items, "next": _place(part.end)}
        if part.end is None:
            return items
        listing.start_after(*part.end)
    raise RequestError("too_large", TOO_MANY_ROWS)


def _place(end: Place | None) -> Any:
    return None if end is None else {"before": end[0], "beyond": end[1]}


def get_order(uow: UnitOfWork, ref: OrderRef) -> Any:
    """Return an order with all of its runs."""
    order = uow.transaction.order(ref.order_id)
    if order is None:
        raise RequestError("unknown", f"there is no order '{ref.order_id}'")
    view: dict[str, Any] = msgspec.to_builtins(views.order_state(order))
    runs = queries.runs_of(uow.transaction.connection, order.id)
    return {
        **view,
        "all_runs": [views.run_state(run) for run in runs],
        "actions": audit_log.actions_on(uow.transaction.connection, order.id),
    }


def list_runs(uow: UnitOfWork, query: RunQuery) -> Any:
    return _list(uow, query, tables.RUNS, lambda row: views.run_state(run_of(row)))


def count_matching(uow: UnitOfWork, query: CountQuery) -> Any:
    """Count the orders or runs that match a query; if ``partial``, those of one part."""
    listing = Listing(tables.ORDERS if query.of == "orders" else tables.RUNS, query)
    if not query.partial:
        # Of all pages, whichever one is listed.
        listing.start_after(None, None)
    matching = 0
    for _ in range(MAX_PARTS):
        number, end = listing.count(uow.transaction.connection, query.at_most - matching)
        uow.queries.add_rows(max(number, listing.part_rows))
        matching += number
        if end is None or query.partial:
            return {"matching": matching, "next": _place(end)}
        listing.start_after(*end)
    raise RequestError("too_large", TOO_MANY_ROWS)


def get_run(uow: UnitOfWork, ref: RunRef) -> Any:
    """Return a run with its steps, its plan, and the number of the last event reported."""
    run = find_run(uow, ref.id)
    order = uow.transaction.order(run.order_id)
    assert order is not None
    connection = uow.transaction.connection
    view: dict[str, Any] = msgspec.to_builtins(views.run_state(run))
    steps = queries.steps_of(connection, run)
    uow.queries.add_rows(len(steps) * STEP_ROWS)
    return {
        **view,
        "steps": steps,
        "reported": run.reported,
        "needs": sorted(decode_words(run.needs)),
        "stale_reports": queries.count_stale_reports(connection, run.id),
        "plan": views.plan_without_secrets(uow.transaction.plan(run.plan_id or order.plan_id)),
    }


def get_input(uow: UnitOfWork, ref: RunRef) -> Any:
    """Read the input of a run, without the configuration that it may hold."""
    stored = uow.transaction.dataclip(*input_of(find_run(uow, ref.id)))
    return {"input": views.input_without_secrets(stored or "{}")}


def list_events(uow: UnitOfWork, query: EventQuery) -> Any:
    run = find_run(uow, query.run_id)
    events = queries.events_of(uow.transaction.connection, run, query)
    return {"run": views.run_state(run), "events": events}


def get_dataclip(uow: UnitOfWork, ref: DataclipRef) -> Any:
    """Read the output of a step, or the final state, of a run."""
    run = find_run(uow, ref.run_id)
    stored = uow.transaction.dataclip(run.id, ref.dataclip_id)
    if stored is None:
        text = f"run {run.id} has no dataclip '{ref.dataclip_id}', or it was not stored"
        raise RequestError("unknown", text)
    return msgspec.Raw(stored.encode())


def get_recorded(uow: UnitOfWork, query: RecordedQuery) -> Any:
    """Read the next lines of a run's recording; the ``seq`` of an event is null at their end."""
    stored = next_recorded(uow.transaction.connection, find_run(uow, query.run_id), query.after)
    seq, lines = stored or (None, "")
    return {"seq": seq, "lines": lines}


def list_workers(uow: UnitOfWork, _: Empty) -> Any:
    return queries.workers(uow.transaction.connection)


def list_alerts(uow: UnitOfWork, _: Empty) -> Any:
    run_ids = queries.alerts(uow.transaction.connection)
    uow.transaction.load_runs(run_ids)
    runs = [run for id in run_ids if (run := uow.transaction.run(id)) is not None]
    known = acknowledgements(uow, run_ids)
    return [_alert_view(run, *known.get(run.id, (None, None))) for run in runs]


def _alert_view(run: RunRecord, acknowledged: int | None, by: str | None) -> dict[str, Any]:
    view: dict[str, Any] = msgspec.to_builtins(views.alert(run))
    return {**view, "acknowledged": acknowledged, "acknowledged_by": by}


def get_summary(uow: UnitOfWork, _: Empty) -> Any:
    summary = queries.summary(uow.transaction.connection)
    # An index is counted at some ten times the speed at which rows are searched.
    uow.queries.add_rows(sum(summary["orders"].values()) // 10)
    return summary
