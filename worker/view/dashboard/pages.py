"""Pages; each requests what it shows from the control plane."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from worker.core.status import STATUSES, Status
from worker.fleet.monitor.snapshot import take_snapshot
from worker.view.dashboard.context import (
    LIVE_HEADER,
    app_context,
    attachment,
    current_session,
    is_live_request,
    render_template,
    seen_rows,
)
from worker.view.dashboard.log_lines import LEVELS
from worker.view.dashboard.run_view import (
    LOG_TAIL,
    MAX_ROWS,
    DataclipText,
    changed_rows,
    execution_rows,
    load_dataclip,
    load_errors,
    recent_log_lines,
)
from worker.view.dashboard.throughput import throughput_chart

NEWEST = 5
# Workers that left, the last ones first.
MAX_LEFT = 50


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
        chart=throughput_chart(ended),
        ended={status: sum(counts) for status, counts in ended.items()},
        online=len(online),
        capacity=sum(worker["capacity"] for worker in online),
        newest=snapshot.alerts[:NEWEST],
    )


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
    with_log = not is_live_request(request) or request.headers[LIVE_HEADER] == "reload"
    lines = await recent_log_lines(context.client, details) if with_log else []
    order = await context.client.order(details["order_id"])
    final = STATUSES[Status(details["status"])].final
    newest = order["last_run"] == details["run_id"]
    rows = execution_rows(
        details,
        first=_position(request.query_params.get("steps", "")),
        actions=final and newest and not current_session(request).read_only,
    )
    if seen := seen_rows(request):
        rows = changed_rows(rows, seen)
    return render_template(
        request,
        "run.html",
        run=details,
        order=order,
        rows=rows,
        errors=await load_errors(context.client, details, rows),
        graph=await context.renderer.render(details),
        lines=lines,
        earlier=max(0, details["reported"] + 1 - LOG_TAIL),
        final=final,
        newest=newest,
        # Pages of earlier steps do not change.
        follows="steps" not in request.query_params,
        page_rows=MAX_ROWS,
        levels=LEVELS,
    )


def _position(text: str) -> int | None:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else None


async def clip(request: Request) -> Response:
    """Show a part of the dataclip of an event."""
    dataclip = await _dataclip(request)
    part = min(_position(request.query_params.get("part", "")) or 1, dataclip.parts)
    return render_template(
        request,
        "clip.html",
        run_id=request.path_params["id"],
        clip=dataclip,
        part=part,
        text=dataclip.part(part),
        download=f"{request.url.path}.json",
    )


async def download_clip(request: Request) -> Response:
    """Send the dataclip of an event as a file."""
    dataclip = await _dataclip(request)
    name = f"{request.path_params['id']}-{request.path_params['seq']}.json"
    return Response(dataclip.text, media_type="application/json", headers=attachment(name))


async def _dataclip(request: Request) -> DataclipText:
    params = request.path_params
    return await load_dataclip(app_context(request).client, params["id"], params["seq"])


async def workers(request: Request) -> Response:
    """Show the workers and their leases."""
    known = await app_context(request).client.workers()
    # A worker that left but still has leases is not gone yet.
    here = [worker for worker in known if worker["online"] or worker["leases"]]
    left = sorted(
        (worker for worker in known if worker not in here), key=lambda each: -each["since"]
    )
    return render_template(request, "workers.html", online=here, offline=left[:MAX_LEFT])


async def alerts(request: Request) -> Response:
    """Show the newest alerts."""
    return render_template(
        request, "alerts.html", alerts=await app_context(request).client.alerts()
    )
