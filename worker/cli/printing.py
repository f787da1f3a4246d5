"""Orders, runs and events as the commands of a fleet print them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from worker.cli.files import write_state
from worker.cli.waiting import waiting_notices
from worker.core.events import RunLog
from worker.core.status import STATUS_OF_REASON, STATUSES, Status
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.monitor.decode import events_from_reply
from worker.sinks.terminal import PlainLines, log_line
from worker.sinks.terminal_text import format_time, one_line, printable
from worker.util.json import dumps
from worker.util.machine_clock import now_us
from worker.workflow.load import load

T = TypeVar("T")


async def follow_order(
    client: Client, run_id: str, *, as_json: bool, to_stderr: bool = False
) -> int:
    """Print the events of an order's last run; return the exit code of its status.

    Where a run ends badly and another one takes its place, that one is followed.
    """
    while True:
        code = await follow(client, run_id, as_json=as_json, to_stderr=to_stderr)
        run = await client.run(run_id)
        if run["status"] in ("success", "cancelled"):
            return code
        order = await client.order(run["order_id"])
        if order["last_run"] == run_id:
            return code
        run_id = order["last_run"]


async def follow(client: Client, id: str, *, as_json: bool, to_stderr: bool = False) -> int:
    """Print the events of a run until it ends; return the exit code of its status."""
    run = await client.run(id)
    stream = sys.stderr if to_stderr else sys.stdout
    lines = PlainLines(load(run["plan"]), stream)
    complete = False
    async with waiting_notices(client, run["run_id"]):
        async for event in client.follow(run["run_id"]):
            complete = event["type"] == "run:complete"
            if as_json:
                print(dumps(event), flush=True)
            else:
                for known in events_from_reply([event]):
                    lines.receive(known)
    run = await client.run(run["run_id"])
    run.pop("plan")
    run.pop("steps")
    # A run that was lost or cancelled in the queue has no event that ends it.
    if as_json or not complete:
        print_run(run, as_json=as_json)
    return STATUSES[Status(run["status"])].exit_code


async def print_log(client: Client, run_id: str, *, as_json: bool) -> None:
    """Print the log lines of a run that the control plane has by now."""
    for event in await client.all_events(run_id):
        if event["type"] != "run:log":
            continue
        if as_json:
            print(dumps(event))
        else:
            for known in events_from_reply([event]):
                assert isinstance(known, RunLog)
                print(log_line(known).strip())


async def write_final_state(client: Client, id: str, target: str) -> None:
    """Write the final state of a run that ended to a file or (``-``) to stdout."""
    run = await client.run(id)
    if not STATUSES[Status(run["status"])].final:
        raise UsageError(f"run {run['run_id']} is {run['status']}: it has no final state yet")
    write_state(target, await client.final_state(run["run_id"]))


def print_list(items: Sequence[T], print_item: Callable[[T], object], *, if_empty: str) -> int:
    """Print the items of a list, or ``if_empty`` on stderr. Return the exit code."""
    for item in items:
        print_item(item)
    if not items and if_empty:
        print(if_empty, file=sys.stderr)
    return 0


def print_order(order: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a work order as text or as a line of JSON."""
    if as_json:
        print(dumps({key: value for key, value in order.items() if key != "run"}), flush=True)
        return
    when = format_time(order["created"])
    print(f"{_status(order)}  {order['order_id']}  {when}  {_where(order)}")
    if order.get("last_run"):
        print(f"    run {order['last_run']} ({order['runs']} in all)")
    if order.get("tags"):
        print(f"    tags {printable(' '.join(order['tags']))}")
    if order.get("erased"):
        print(f"    states and logs erased {format_time(order['erased'])}")
    if order.get("reason"):
        print(f"    {one_line(order['reason'])}")


def print_action(action: Mapping[str, Any]) -> None:
    """Print who did what with an order, as an indented line."""
    client = printable(action["client"] or "somebody without a name")
    detail = f" ({one_line(action['detail'], 80)})" if action["detail"] else ""
    print(f"    {format_time(action['at'])}  {printable(action['action'])} by {client}{detail}")


def print_run(run: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a run as text or as a line of JSON."""
    if as_json:
        print(dumps(dict(run)), flush=True)
        return
    at = f" on {run['worker']}" if run.get("worker") else ""
    again = f", attempt {run['attempt']}" if run["attempt"] > 1 else ""
    order = str(run.get("order_id") or "")
    # The first run of an order is named after it, and later ones are not.
    of = "" if run["run_id"].startswith(order) else f", of order {printable(order)}"
    where = f"{_where(run)}{at}{again}{of}"
    print(f"{_status(run)}  {run['run_id']}  {format_time(run['created'])}  {where}")
    if run["status"] == "pending" and (run.get("not_before") or 0) > now_us():
        print(f"    not before {format_time(run['not_before'])}")
    if run.get("error_type") or run.get("error_message"):
        type = f"{run['error_type']}: " if run.get("error_type") else ""
        error = f"{type}{run.get('error_message') or ''}"
        print(f"    {one_line(error, 500)}")


def print_step(step: Mapping[str, Any]) -> None:
    """Print a step of a run as an indented line."""
    if "reason" not in step:
        print(f"    ▸ {one_line(step['job_id'], 60)}")
        return
    leads = ", ".join(one_line(id, 60) for id in step.get("next") or ())
    error = f"  {one_line(step['error_type'], 60)}" if step.get("error_type") else ""
    arrow = f" → {leads}" if leads else ""
    status = STATUS_OF_REASON[step["reason"]].value
    print(f"    {status:<9} {one_line(step['job_id'], 60)}{error}{arrow}")


def _status(of: Mapping[str, Any]) -> str:
    status = Status(of["status"])
    return f"{STATUSES[status].mark} {status.value:<9}"


def _where(of: Mapping[str, Any]) -> str:
    return f"{printable(of['project'])}/{one_line(of['workflow'], 80)}"
