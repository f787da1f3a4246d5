"""``worker watch``: show the changes of a fleet, on a screen or as lines."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

from worker.cli.connection import BrokerConnection
from worker.cli.options import client_options, command, option
from worker.cli.services import until_signal
from worker.fleet.client import Client
from worker.fleet.control_errors import NoAnswer
from worker.fleet.monitor.changes import format_json, format_line
from worker.fleet.monitor.run_tracker import RunTracker
from worker.fleet.monitor.snapshot import Snapshot, take_snapshot
from worker.fleet.notifications import Gap
from worker.util.machine_clock import now_us

# A busy fleet changes all the time: a request each second is enough. A quiet one is looked at
# again after a while, because a message may be lost.
BUSY_INTERVAL_S = 1.0
IDLE_INTERVAL_S = 5.0


@command()
@option("--json", "as_json", is_flag=True, help="Print every change as a line of JSON.")
@client_options
def watch(*, connection: BrokerConnection, as_json: bool) -> int:
    """Watch orders, runs, workers and alerts as they change.

    On a terminal it is a screen that is kept up to date; elsewhere every change of a run's status
    is a line. Ctrl-C ends it.

    \b
    Examples:
      worker watch --mqtt mqtt://broker.example
      worker watch --mqtt mqtt://broker.example --json | jq .status
    """
    client = connection.client()
    if as_json or not sys.stdout.isatty():
        work = _lines(client, format_json if as_json else format_line)
    else:
        work = _screen(client, str(connection))
    with connection.remedies():
        asyncio.run(until_signal(work))
    return 0


async def _lines(client: Client, format_change: Callable[[Any], str]) -> None:
    async with client:
        # Fails if no control plane answers: notifications alone would be awaited for ever.
        await client.summary()
        async for batch in client.notifications():
            for notification in batch:
                if line := format_change(notification):
                    print(line)
            sys.stdout.flush()


async def _screen(client: Client, title: str) -> None:
    from rich.console import Console
    from rich.live import Live

    from worker.fleet.monitor.screen import render_screen

    tracker = RunTracker()
    async with client:
        state = await take_snapshot(client, tracker)
        feed = ChangeFeed(client, tracker)
        receiving = asyncio.create_task(feed.run())
        console = Console(highlight=False)
        try:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                problem = ""
                while True:
                    pace = tracker.runs_ended(_second())
                    live.update(render_screen(state, pace, title, problem, now_us()), refresh=True)
                    await feed.wait()
                    state, problem = await _refresh(client, tracker, state)
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


async def _refresh(client: Client, tracker: RunTracker, before: Snapshot) -> tuple[Snapshot, str]:
    """Return the state now; where no control plane answers, the one before and the problem."""
    try:
        return await take_snapshot(client, tracker), ""
    except NoAnswer as error:
        return before, str(error)


class ChangeFeed:
    """Receiver of changes: updates the tracker, and signals that the screen is out of date."""

    def __init__(self, client: Client, tracker: RunTracker) -> None:
        self._client = client
        self._tracker = tracker
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Receive changes until cancelled."""
        async for batch in self._client.notifications():
            for notification in batch:
                self._tracker.handle(notification, _second())
                if not isinstance(notification, Gap):
                    self._changed.set()

    async def wait(self) -> None:
        """Wait until the screen is to be drawn again."""
        await asyncio.sleep(BUSY_INTERVAL_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_INTERVAL_S - BUSY_INTERVAL_S):
                await self._changed.wait()
        self._changed.clear()


def _second() -> int:
    return int(time.monotonic())
