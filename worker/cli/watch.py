"""``worker watch``: what a fleet is doing, on a screen or line by line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from worker.fleet.client import Client, Gap, NoAnswer
from worker.fleet.monitor.changes import format_json, format_line
from worker.fleet.monitor.run_tracker import RunTracker
from worker.fleet.monitor.snapshot import Snapshot, take_snapshot

EVERY_S = 1.0
"""How often the screen asks, while there is news; ``PATIENCE_S`` while there is none."""
PATIENCE_S = 5.0


def watch(client: Client, title: str, *, as_json: bool) -> int:
    """Watch until Ctrl-C. Raises :class:`worker.errors.WorkerError` on wrong usage, and where no
    control plane answers."""
    if as_json or not sys.stdout.isatty():
        tell = format_json if as_json else format_line
        asyncio.run(_until_stopped(_lines(client, tell)))
    else:
        asyncio.run(_until_stopped(_screen(client, title)))
    return 0


async def _until_stopped(work: Any) -> None:
    """Ctrl-C and SIGTERM end it as if it were done."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _lines(on: Client, tell: Callable[[Any], str]) -> None:
    async with on:
        await on.summary()
        async for several in on.notifications():
            for news in several:
                if line := tell(news):
                    print(line)
            sys.stdout.flush()


async def _screen(on: Client, title: str) -> None:
    from rich.console import Console
    from rich.live import Live

    from worker.fleet.monitor.screen import render_screen

    ledger = RunTracker()
    async with on:
        seen = await take_snapshot(on, ledger)
        hearing = Hearing(on, ledger)
        listening = asyncio.create_task(hearing.run())
        console = Console(highlight=False)
        try:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                trouble = ""
                while True:
                    pace, now = ledger.runs_ended(_second()), time.time_ns() // 1000
                    live.update(render_screen(seen, pace, title, trouble, now), refresh=True)
                    await hearing.wait()
                    seen, trouble = await _again(on, ledger, seen)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def _again(on: Client, ledger: RunTracker, before: Snapshot) -> tuple[Snapshot, str]:
    """What is so now; where nobody answers, what was so before, and the trouble."""
    try:
        return await take_snapshot(on, ledger), ""
    except NoAnswer as error:
        return before, str(error)


class Hearing:
    """Keeps the ledger, and knows whether there is something new to show."""

    def __init__(self, on: Client, ledger: RunTracker) -> None:
        self._client = on
        self._ledger = ledger
        self._some = asyncio.Event()

    async def run(self) -> None:
        async for several in self._client.notifications():
            for news in several:
                self._ledger.handle(news, _second())
                if not isinstance(news, Gap):
                    self._some.set()

    async def wait(self) -> None:
        """Until it is time to look again."""
        await asyncio.sleep(EVERY_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S - EVERY_S):
                await self._some.wait()
        self._some.clear()


def _second() -> int:
    return int(time.monotonic())
