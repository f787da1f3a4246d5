"""``worker submit``, ``orders``, ``runs``, ``retry`` and ``cancel``: what clients do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.cli.connection import BrokerConnection
from worker.cli.run import read_input
from worker.core.status import STATUSES, Status
from worker.errors import UsageError
from worker.fleet.client import Client, ControlError
from worker.fleet.messaging.messages import OrderQuery, RunOptions
from worker.fleet.monitor.decode import asked
from worker.sinks.terminal import PlainLines
from worker.sinks.terminal_text import one_line, printable
from worker.util.json import dumps
from worker.workflow.load import load
from worker.workflow.model import Workflow
from worker.workflow.save import plan_of

Asked = Callable[[Client], Awaitable[int]]


def with_client(place: BrokerConnection, wait_s: float, ask: Asked) -> int:
    """Ask a control plane something; the exit code."""

    async def connected() -> int:
        async with place.client(wait_s=wait_s) as client:
            return await ask(client)

    try:
        return asyncio.run(connected())
    except KeyboardInterrupt:
        return 130


def submit(
    *,
    file: Path | None,
    reference: str | None,
    workflow: str | None,
    input_file: str | None,
    project: str,
    priority: int,
    options: RunOptions,
    order_id: str | None,
    wait: bool,
    as_json: bool,
) -> Asked:
    """Submit a work order, and wait for its run where that is wanted."""
    if (file is None) is (reference is None):
        raise UsageError("expected either a workflow FILE, or --ref NAME")
    plan = None if file is None else plan_of(load(file, workflow=workflow))
    state = read_input(input_file)

    async def ask(client: Client) -> int:
        order = await client.submit(
            workflow=reference, plan=plan, input=state, project=project, priority=priority,
            options=options, order_id=order_id,
        )  # fmt: skip
        if not wait or order["last_run"] is None:
            show_order(order, as_json=as_json)
            return STATUSES[Status.REJECTED].exit_code if order["status"] == "rejected" else 0
        return await follow(client, order["last_run"], as_json=as_json)

    return ask


def orders(query: OrderQuery, order_id: str | None, *, as_json: bool) -> Asked:
    """List orders, or show one with its runs."""

    async def ask(client: Client) -> int:
        if order_id is not None:
            found = await client.order(order_id)
            runs = found.pop("all_runs")
            show_order(found, as_json=as_json)
            for run in runs:
                show_run(run, as_json=as_json)
            return 0
        listed = await client.orders(query)
        for order in listed:
            show_order(order, as_json=as_json)
        if not listed and not as_json:
            print("no orders", file=sys.stderr)
        return 0

    return ask


def runs(id: str, *, following: bool, as_json: bool) -> Asked:
    """Show a run with its steps, or follow it to its end."""

    async def ask(client: Client) -> int:
        if following:
            return await follow(client, id, as_json=as_json)
        run = await client.run(id)
        run.pop("plan")
        steps = run.pop("steps")
        show_run(run | ({"steps": steps} if as_json else {}), as_json=as_json)
        for step in () if as_json else steps:
            print(f"    {_step(step)}")
        return 0

    return ask


def retry(id: str, from_step: str | None, *, wait: bool, as_json: bool) -> Asked:
    """Run an order again."""

    async def ask(client: Client) -> int:
        order = await client.retry(id, from_step=from_step)
        if wait:
            return await follow(client, order["last_run"], as_json=as_json)
        show_run(order["run"], as_json=as_json)
        return 0

    return ask


def cancel(id: str, *, as_json: bool) -> Asked:
    """Cancel a run, and wait until it has ended."""

    async def ask(client: Client) -> int:
        try:
            run = await client.cancel(id)
        except ControlError as error:
            if error.code != "conflict":
                raise
            print(f"error: {printable(str(error))}", file=sys.stderr)
            return 1
        if not STATUSES[Status(run["status"])].final:
            run = await client.wait(run["run_id"])
        run.pop("plan", None)
        run.pop("steps", None)
        show_run(run, as_json=as_json)
        return 0 if run["status"] == "cancelled" else 1

    return ask


async def follow(client: Client, id: str, *, as_json: bool) -> int:
    """Show the events of a run as they come; the exit code of its status."""
    run = await client.run(id)
    lines = PlainLines(_workflow(run), sys.stdout)
    complete = False
    async for event in client.follow(run["run_id"]):
        complete = event["type"] == "run:complete"
        if as_json:
            print(dumps(event), flush=True)
        else:
            for known in asked([event]):
                lines.receive(known)
    run = await client.run(run["run_id"])
    run.pop("plan")
    run.pop("steps")
    if as_json or not complete:
        show_run(run, as_json=as_json)
    return STATUSES[Status(run["status"])].exit_code


def _workflow(run: Mapping[str, Any]) -> Workflow:
    return load(run["plan"])


# --- one line each --------------------------------------------------------------------------------


def show_order(order: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(dumps({key: value for key, value in order.items() if key != "run"}), flush=True)
        return
    print(f"{_status(order)}  {order['order_id']}  {_when(order['created'])}  {_where(order)}")
    if order.get("last_run"):
        print(f"    run {order['last_run']} ({order['runs']} in all)")
    if order.get("reason"):
        print(f"    {one_line(order['reason'])}")


def show_run(run: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(dumps(dict(run)), flush=True)
        return
    at = f" on {run['worker']}" if run.get("worker") else ""
    again = f", attempt {run['attempt']}" if run["attempt"] > 1 else ""
    print(f"{_status(run)}  {run['run_id']}  {_when(run['created'])}  {_where(run)}{at}{again}")
    if run.get("error_type"):
        error = f"{run['error_type']}: {run.get('error_message') or ''}"
        print(f"    {one_line(error, 500)}")


def _step(step: Mapping[str, Any]) -> str:
    if "reason" not in step:
        return f"▸ {one_line(step['job_id'], 60)}"
    leads = ", ".join(one_line(one, 60) for one in step.get("next") or ())
    error = f"  {one_line(step['error_type'], 60)}" if step.get("error_type") else ""
    arrow = f" → {leads}" if leads else ""
    return f"{step['reason']:<9} {one_line(step['job_id'], 60)}{error}{arrow}"


def _status(of: Mapping[str, Any]) -> str:
    status = Status(of["status"])
    return f"{STATUSES[status].mark} {status.value:<9}"


def _where(of: Mapping[str, Any]) -> str:
    return f"{printable(of['project'])}/{one_line(of['workflow'], 80)}"


def _when(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
