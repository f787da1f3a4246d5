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
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.client_messages import OrderQuery, RunQuery
from worker.util.machine_clock import now_us
from worker.view.dashboard.actions import retry_id
from worker.view.dashboard.context import (
    app_context,
    current_session,
    redirect_to,
    render_template,
)
from worker.workflow.documents.mismatch import describe_mismatch

PAGE = 50
FILTERS = ("status", "project", "workflow", "search", "last", "from", "to")
# Ranges of time that end now, in seconds.
RANGES = {
    "1h": ("last hour", 3600),
    "24h": ("last 24 hours", 24 * 3600),
    "7d": ("last 7 days", 7 * 24 * 3600),
    "30d": ("last 30 days", 30 * 24 * 3600),
}
# The control plane filters by whole names. Parts of names are compared here, with at most so many
# orders per request.
_BATCH, _MAX_SEARCHED = 500, 10_000
# More are not counted: a list that is open counts anew with each change.
MAX_COUNT = 10_000
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

    def query(
        self, before: int | None = None, beyond: str | None = None, limit: int = PAGE
    ) -> OrderQuery:
        """Build the query of the control plane. Raises ``ValidationError``."""
        fields: dict[str, Any] = {
            # A search for the workflow reads fewer orders than a comparison here.
            "search": self.search or self.workflow,
            "status": self.status or None,
            "since": max(self.begin, 0),
            "until": self.end,
            "before": before,
            "beyond": beyond or None,
            "limit": limit,
        }
        return msgspec.convert(fields, OrderQuery)


def read_filter(query: Mapping[str, str]) -> OrderFilter:
    """Read the filter of an address. Raises :class:`ValueError` for an invalid time."""
    names = ("status", "project", "workflow", "search")
    return OrderFilter(
        **{name: query.get(name, "").strip() for name in names},
        begin=max(_read_time(query.get("from", "")) or 0, _begin_of_range(query.get("last", ""))),
        end=_read_time(query.get("to", "")),
    )


def _begin_of_range(name: str) -> int:
    """Return when a range of :data:`RANGES` began; none began with the epoch."""
    if not name:
        return 0
    if name not in RANGES:
        raise ValueError(f"unknown range '{name}' (expected one of {', '.join(RANGES)})")
    return now_us() - RANGES[name][1] * 1_000_000


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
    page, problem, count = Page(), "", ""
    try:
        order_filter = read_filter(query)
        page = await find_orders(client, order_filter, *_position(query))
        first = "before" not in query
        count = await _count(client, order_filter, page, first=first) if filters else ""
    except msgspec.ValidationError as error:
        problem = f"Invalid filter: {describe_mismatch(error, OrderQuery)}"
    except ValueError as error:
        problem = f"Invalid filter: {error}"
    return render_template(
        request,
        "orders.html",
        orders=page.orders,
        last_runs=await last_runs(client, page.orders),
        filters={name: filters.get(name, "") for name in FILTERS},
        filtered=bool(filters),
        ranges={name: text for name, (text, _) in RANGES.items()},
        count=count,
        first_page="before" not in query,
        newest=f"/orders?{urlencode(filters)}",
        older=f"/orders?{urlencode({**filters, **page.older})}" if page.older else "",
        here=f"{request.url.path}?{request.url.query}",
        problem=problem,
    )


async def _count(client: Client, order_filter: OrderFilter, page: Page, *, first: bool) -> str:
    """Count the orders that match, in words; empty where the number is not known."""
    if order_filter.by_name:
        # Parts of names are compared here, so only orders that were read are counted.
        matching, more = len(page.orders) if first else 0, bool(page.older)
    else:
        try:
            matching = await client.count(order_filter.query(), at_most=MAX_COUNT)
        except ControlError as error:
            # A control plane of an earlier version does not count.
            if error.code != "unknown":
                raise
            return ""
        more = matching == MAX_COUNT
    if not matching:
        return ""
    noun = "order matches" if (matching, more) == (1, False) else "orders match"
    return f"{matching:,} {'or more ' if more else ''}{noun}"


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
        matches += filter(order_filter.matches, batch)
        searched += len(batch)
        # One more than a page shows whether there is a next one.
        if len(matches) > PAGE:
            return Page(orders=matches[:PAGE], older=_place(matches[PAGE - 1]))
        if len(batch) < limit:
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
