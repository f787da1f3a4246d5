"""Page of the list of orders: filters, last runs, and actions on several orders at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker.core.status import STATUSES, Status
from worker.fleet.client import Client, ControlError
from worker.fleet.messaging.messages import OrderQuery, RunQuery
from worker.view.dashboard.actions import retry_id
from worker.view.dashboard.context import (
    app_context,
    current_session,
    redirect_to,
    render_template,
)

PAGE = 50
FILTERS = ("status", "project", "workflow", "search", "from", "to")
# The control plane filters by whole names. Parts of names are compared here, with at most so many
# orders per request.
_BATCH, _MAX_SEARCHED = 500, 10_000
# Last runs that the query of the newest runs did not return.
_MAX_LOOKUPS = 10
# Orders of a page that are retried or cancelled at a time.
_PARALLEL = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilter:
    """Filter of orders. ``begin`` and ``end`` are microseconds since the epoch."""

    status: str = ""
    project: str = ""
    workflow: str = ""
    search: str = ""
    begin: int = 0
    end: int | None = None

    @property
    def by_name(self) -> bool:
        return bool(self.project or self.workflow)

    def matches(self, order: Mapping[str, Any]) -> bool:
        pairs = ((self.project, order["project"]), (self.workflow, order["workflow"]))
        return all(part.casefold() in name.casefold() for part, name in pairs)

    def query(self, before: int | None, beyond: str | None, limit: int) -> OrderQuery:
        """Build the query of the control plane. Raises ``ValidationError``."""
        # A search for the workflow reads fewer orders than a comparison here.
        fields: dict[str, Any] = {"search": self.search or self.workflow, "limit": limit}
        if self.status:
            fields["status"] = self.status
        if before is not None or self.end is not None:
            fields["before"] = before if before is not None else self.end
            fields["beyond"] = beyond or None
        return msgspec.convert(fields, OrderQuery)


def read_filter(query: Mapping[str, str]) -> OrderFilter:
    """Read the filter of an address. Raises :class:`ValueError` for an invalid time."""
    names = ("status", "project", "workflow", "search")
    return OrderFilter(
        **{name: query.get(name, "").strip() for name in names},
        begin=_read_time(query.get("from", "")) or 0,
        end=_read_time(query.get("to", "")),
    )


def _read_time(text: str) -> int | None:
    """Read the local time of a form, in UTC."""
    if not text:
        return None
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"invalid time '{text}' (expected 2026-01-31T12:00)") from error


async def orders(request: Request) -> Response:
    """Show the orders that match the filters, newest first, with their last runs."""
    client, query = app_context(request).client, request.query_params
    filters = {name: query[name] for name in FILTERS if query.get(name)}
    page, problem = Page(), ""
    try:
        page = await find_orders(client, read_filter(query), *_position(query))
    except (msgspec.ValidationError, ValueError) as error:
        problem = f"Invalid filter: {error}"
    return render_template(
        request,
        "orders.html",
        orders=page.orders,
        last_runs=await last_runs(client, page.orders),
        filters={name: filters.get(name, "") for name in FILTERS},
        filtered=bool(filters),
        first_page="before" not in query,
        newest=f"/orders?{urlencode(filters)}",
        older=f"/orders?{urlencode({**filters, **page.older})}" if page.older else "",
        here=f"{request.url.path}?{request.url.query}",
        problem=problem,
    )


def _position(query: Mapping[str, str]) -> tuple[int | None, str]:
    # The address may be edited by hand: an invalid position shows the first page.
    before = query.get("before", "")
    if before.isascii() and before.isdigit() and len(before) < 18:
        return int(before), query.get("beyond", "")
    return None, ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Orders of a page, and the position of the next one, if there is one."""

    orders: Sequence[Mapping[str, Any]] = ()
    older: Mapping[str, Any] = field(default_factory=dict)


async def find_orders(
    client: Client, order_filter: OrderFilter, before: int | None, beyond: str
) -> Page:
    """Query a page of orders; more are queried while the names of too few match."""
    matches: list[dict[str, Any]] = []
    limit, searched = _BATCH if order_filter.by_name else PAGE + 1, 0
    while searched < _MAX_SEARCHED:
        batch = await client.orders(order_filter.query(before, beyond, limit))
        recent = [order for order in batch if order["created"] >= order_filter.begin]
        matches += filter(order_filter.matches, recent)
        searched += len(batch)
        # One more than a page shows whether there is a next one.
        if len(matches) > PAGE:
            return Page(orders=matches[:PAGE], older=_place(matches[PAGE - 1]))
        if len(batch) < limit or len(recent) < len(batch):
            return Page(orders=matches)
        before, beyond = batch[-1]["created"], batch[-1]["order_id"]
    return Page(orders=matches, older={"before": before, "beyond": beyond})


def _place(order: Mapping[str, Any]) -> dict[str, Any]:
    return {"before": order["created"], "beyond": order["order_id"]}


async def last_runs(
    client: Client, orders: Sequence[Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Query the last runs of orders, by id: their worker, duration and error."""
    wanted = {order["last_run"] for order in orders if order["last_run"]}
    if not wanted:
        return {}
    # Most last runs were created with their orders, so one query of runs returns them.
    newest = await client.runs(RunQuery(before=orders[0]["created"] + 1, limit=3 * PAGE))
    runs: dict[str, Mapping[str, Any]] = {
        run["run_id"]: run for run in newest if run["run_id"] in wanted
    }
    others = [order for order in orders if order["last_run"] in wanted - runs.keys()]
    for details in await asyncio.gather(
        *(client.order(order["order_id"]) for order in others[:_MAX_LOOKUPS]),
        return_exceptions=True,
    ):
        if isinstance(details, dict):
            runs |= {run["run_id"]: run for run in details["all_runs"]}
    return runs


async def change_orders(request: Request) -> Response:
    """Retry or cancel the selected orders."""
    client, form = app_context(request).client, request.scope["form"]
    ids = list(dict.fromkeys(form.getlist("order")))[:PAGE]
    change = _retry if form.get("action") == "retry" else _cancel
    gate = asyncio.Semaphore(_PARALLEL)

    async def apply(id: str) -> bool:
        async with gate:
            try:
                return await change(client, id)
            except ControlError:
                return False

    done = sum(await asyncio.gather(*map(apply, ids)))
    word = "Retried" if change is _retry else "Cancelled"
    left = f"; {len(ids) - done} could not be" if done < len(ids) else ""
    message = f"{word} {done} of {len(ids)} selected orders{left}." if ids else "No order selected."
    current_session(request).flash(message, is_error=done < len(ids) or not ids)
    path = form.get("here", "")
    return redirect_to(path if path.startswith("/orders?") else "/orders")


async def _retry(client: Client, id: str) -> bool:
    order = await client.order(id)
    if not STATUSES[Status(order["status"])].final or not order["last_run"]:
        return False
    # A form that is sent twice retries once: the id follows from the last run.
    await client.retry(order["last_run"], run_id=retry_id(order["last_run"]))
    return True


async def _cancel(client: Client, id: str) -> bool:
    await client.cancel(id)
    return True
