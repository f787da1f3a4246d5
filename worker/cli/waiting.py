"""Notices about a run that a command waits for: why it has not begun, and that it goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.end_tasks import end_tasks
from worker.sinks.terminal_text import format_time, printable, shell_word
from worker.util.machine_clock import now_us

# A run that begins at once needs no notice: a worker claims it within milliseconds.
NOTICE_S = 3.0


@asynccontextmanager
async def waiting_notices(client: Client, run_id: str) -> AsyncIterator[None]:
    """Print on stderr why a run has not begun by now, and after Ctrl-C that it goes on."""
    notice = asyncio.create_task(_print_reason(client, run_id))
    try:
        yield
    except asyncio.CancelledError:
        id = shell_word(run_id)
        ways = f"worker runs show {id} --follow shows it, worker cancel {id} ends it"
        print(f"the run goes on: {ways}", file=sys.stderr)
        raise
    finally:
        await end_tasks(notice)


async def _print_reason(client: Client, run_id: str) -> None:
    await asyncio.sleep(NOTICE_S)
    run = await client.run(run_id)
    if run["status"] != "pending":
        return
    print(f"run {printable(run_id)} waits: {await find_reason(client, run)}", file=sys.stderr)


async def find_reason(client: Client, run: Mapping[str, Any]) -> str:
    """Query the control plane for what a pending run waits for."""
    pauses, workers = await allowed(client.pauses), await allowed(client.workers)
    return waiting_reason(run, pauses or (), workers, now_us())


async def allowed(query: Callable[[], Awaitable[Sequence[Any]]]) -> Sequence[Any] | None:
    """Return what a query finds; None where the client may not know, as it is of all projects."""
    try:
        return await query()
    except ControlError:
        return None


def waiting_reason(
    run: Mapping[str, Any],
    pauses: Sequence[Mapping[str, Any]],
    workers: Sequence[Mapping[str, Any]] | None,
    now_us: int,
) -> str:
    """Return why a pending run has not begun, as far as a client can see."""
    if run.get("worker"):
        return f"worker {printable(run['worker'])} has it and has not started it"
    if (run.get("not_before") or 0) > now_us:
        return f"not before {format_time(run['not_before'])}"
    for pause in pauses:
        if pause["project"] in (None, run["project"]) and pause["workflow"] in (
            None,
            run["workflow"],
        ):
            return _paused(pause)
    if workers is not None and not any(worker["online"] for worker in workers):
        return "no worker is online (worker start runs one)"
    if run.get("needs"):
        return f"it needs a free worker with {printable(', '.join(run['needs']))}"
    return "no worker has had a free slot for it"


def _paused(pause: Mapping[str, Any]) -> str:
    name = "" if pause["workflow"] is None else f" {shell_word(pause['workflow'])}"
    project = "" if pause["project"] is None else f" --project {shell_word(pause['project'])}"
    target = format_target(pause["workflow"], pause["project"])
    return f"{target} is paused (worker workflows resume{name}{project} ends that)"


def format_target(workflow: str | None, project: str | None) -> str:
    """Name what a pause is of: a workflow, one in a project, or a whole project."""
    if workflow is None:
        return f"project {printable(project or '')}"
    return printable(workflow) + (f" in project {printable(project)}" if project else "")
