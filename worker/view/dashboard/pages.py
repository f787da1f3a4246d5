"""Pages; each requests what it shows from the control plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker.core.status import STATUSES, Status
from worker.fleet.messaging.messages import OrderQuery
from worker.fleet.monitor.snapshot import take_snapshot
from worker.view.dashboard.context import app_context, is_live_request, render_template
from worker.view.dashboard.run_view import LOG_TAIL, execution_rows, load_dataclip, recent_log_lines
from worker.view.dashboard.templating import bar_chart

PAGE = 50
NEWEST = 5
_FILTERS = ("status", "project", "workflow", "search")


async def overview(request: Request) -> Response:
    """Show orders by status, throughput, active runs and the newest alerts."""
    context = app_context(request)
    snapshot = await take_snapshot(context.client, context.hub.tracker)
    ended = context.hub.runs_ended()
    online = [worker for worker in snapshot.workers if worker["online"]]
    return render_template(
        request,
        "overview.html",
        snapshot=snapshot,
        counts=[(str(status), snapshot.statuses.get(status, 0)) for status in STATUSES],
        total=sum(snapshot.statuses.values()),
        bars=bar_chart(ended),
        ended=sum(ended),
        online=len(online),
        capacity=sum(worker["capacity"] for worker in online),
        newest=snapshot.alerts[:NEWEST],
    )


async def orders(request: Request) -> Response:
    """Show the orders that match the filters, newest first."""
    filters = {name: value for name in _FILTERS if (value := request.query_params.get(name, ""))}
    before, beyond = (request.query_params.get(name, "") for name in ("before", "beyond"))
    matches: list[dict[str, Any]] = []
    problem = ""
    try:
        matches = await app_context(request).client.orders(_query(filters, before, beyond))
    except msgspec.ValidationError as error:
        problem = f"Invalid filter: {error}"
    older = ""
    # One more than a page was requested, to know whether there is a next page.
    if len(matches) > PAGE:
        last = matches[PAGE - 1]
        place = {"before": last["created"], "beyond": last["order_id"]}
        older = f"/orders?{urlencode(filters | place)}"
    return render_template(
        request,
        "orders.html",
        orders=matches[:PAGE],
        filters={name: filters.get(name, "") for name in _FILTERS},
        filtered=bool(filters),
        first_page=not before,
        newest=f"/orders?{urlencode(filters)}",
        older=older,
        problem=problem,
    )


def _query(filters: Mapping[str, str], before: str, beyond: str) -> OrderQuery:
    fields: dict[str, Any] = {**filters, "limit": PAGE + 1}
    # The address may be edited by hand: an invalid position shows the first page.
    if before.isascii() and before.isdigit():
        fields["before"] = int(before)
        fields["beyond"] = beyond or None
    return msgspec.convert(fields, OrderQuery)


async def order(request: Request) -> Response:
    """Show an order with all of its runs."""
    details = await app_context(request).client.order(request.path_params["id"])
    runs = list(reversed(details["all_runs"]))
    final = STATUSES[Status(details["status"])].final
    return render_template(request, "order.html", order=details, runs=runs, final=final)


async def run(request: Request) -> Response:
    """Show a run: its path on the graph, its steps, and its log."""
    context = app_context(request)
    details = await context.client.run(request.path_params["id"])
    # An open page receives log lines by itself. It requests the log only after it missed some.
    with_log = not is_live_request(request) or request.headers["x-live"] == "reload"
    lines = await recent_log_lines(context.client, details) if with_log else []
    order = await context.client.order(details["order_id"])
    final = STATUSES[Status(details["status"])].final
    return render_template(
        request,
        "run.html",
        run=details,
        order=order,
        rows=execution_rows(details),
        graph=await context.renderer.render(details["plan"], details["steps"]),
        lines=lines,
        earlier=max(0, details["reported"] + 1 - LOG_TAIL),
        final=final,
        newest=order["last_run"] == details["run_id"],
    )


async def clip(request: Request) -> Response:
    """Show the dataclip of an event."""
    run_id, seq = request.path_params["id"], request.path_params["seq"]
    dataclip = await load_dataclip(app_context(request).client, run_id, seq)
    return render_template(request, "clip.html", run_id=run_id, clip=dataclip)


async def workers(request: Request) -> Response:
    """Show the workers and their leases."""
    return render_template(
        request, "workers.html", workers=await app_context(request).client.workers()
    )


async def alerts(request: Request) -> Response:
    """Show the newest alerts."""
    return render_template(
        request, "alerts.html", alerts=await app_context(request).client.alerts()
    )
