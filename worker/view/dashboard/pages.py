"""The pages: each asks the control plane for what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from worker.core.status import STATUSES, Status
from worker.fleet.messaging.messages import OrderQuery
from worker.fleet.monitor.snapshot import snapshot
from worker.view.dashboard.context import is_live, parts_of, shown
from worker.view.dashboard.run_view import TAIL, clip_of, lines_of, rows_of
from worker.view.dashboard.templating import bars

PAGE = 50
NEWEST = 5
_FILTERS = ("status", "project", "workflow", "search")


async def overview(request: Request) -> Response:
    """Orders by status, the pace, what goes now, and what the superuser must see."""
    parts = parts_of(request)
    seen = await snapshot(parts.client, parts.hub.ledger)
    pace = parts.hub.pace()
    present = [worker for worker in seen.workers if worker["online"]]
    return shown(
        request,
        "overview.html",
        seen=seen,
        counts=[(str(status), seen.statuses.get(status, 0)) for status in STATUSES],
        total=sum(seen.statuses.values()),
        bars=bars(pace),
        ended=sum(pace),
        present=len(present),
        capacity=sum(worker["capacity"] for worker in present),
        newest=seen.alerts[:NEWEST],
    )


async def orders(request: Request) -> Response:
    """Orders, newest first, as far as they are like what was asked for."""
    asked = {name: value for name in _FILTERS if (value := request.query_params.get(name, ""))}
    before, beyond = (request.query_params.get(name, "") for name in ("before", "beyond"))
    found: list[dict[str, Any]] = []
    problem = ""
    try:
        found = await parts_of(request).client.orders(_query(asked, before, beyond))
    except msgspec.ValidationError as error:
        problem = f"Nothing can be like that: {error}"
    older = ""
    if len(found) > PAGE:
        last = found[PAGE - 1]
        place = {"before": last["created"], "beyond": last["order_id"]}
        older = f"/orders?{urlencode(asked | place)}"
    return shown(
        request,
        "orders.html",
        orders=found[:PAGE],
        asked={name: asked.get(name, "") for name in _FILTERS},
        filtered=bool(asked),
        first_page=not before,
        newest=f"/orders?{urlencode(asked)}",
        older=older,
        problem=problem,
    )


def _query(asked: Mapping[str, str], before: str, beyond: str) -> OrderQuery:
    fields: dict[str, Any] = {**asked, "limit": PAGE + 1}
    if before.isascii() and before.isdigit():
        fields["before"] = int(before)
        fields["beyond"] = beyond or None
    return msgspec.convert(fields, OrderQuery)


async def order(request: Request) -> Response:
    """An order with all of its runs."""
    found = await parts_of(request).client.order(request.path_params["id"])
    runs = list(reversed(found["all_runs"]))
    final = STATUSES[Status(found["status"])].final
    return shown(request, "order.html", order=found, runs=runs, final=final)


async def run(request: Request) -> Response:
    """A run: its path on the graph, its steps, and its log."""
    parts = parts_of(request)
    found = await parts.client.run(request.path_params["id"])
    # A page that is open has heard the log itself: it asks for it where it missed some.
    with_log = not is_live(request) or request.headers["x-live"] == "anew"
    lines = await lines_of(parts.client, found) if with_log else []
    order = await parts.client.order(found["order_id"])
    final = STATUSES[Status(found["status"])].final
    return shown(
        request,
        "run.html",
        run=found,
        order=order,
        rows=rows_of(found),
        graph=await parts.pictures.of(found["plan"], found["steps"]),
        lines=lines,
        earlier=max(0, found["reported"] + 1 - TAIL),
        final=final,
        newest=order["last_run"] == found["run_id"],
    )


async def clip(request: Request) -> Response:
    """The dataclip that an event of a run carries."""
    run_id, seq = request.path_params["id"], request.path_params["seq"]
    found = await clip_of(parts_of(request).client, run_id, seq)
    return shown(request, "clip.html", run_id=run_id, clip=found)


async def workers(request: Request) -> Response:
    """The workers, and what they have leases of."""
    return shown(request, "workers.html", workers=await parts_of(request).client.workers())


async def alerts(request: Request) -> Response:
    """What the superuser must see."""
    return shown(request, "alerts.html", alerts=await parts_of(request).client.alerts())
