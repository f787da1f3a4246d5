"""Log and signals of the processes that run until a signal comes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from worker.sandbox.confinement.process import keep_memory_private
from worker.sinks.log import LeveledLogger, stderr_logger


def service_log(*, quiet: bool) -> LeveledLogger:
    """Return the log on stderr; ``quiet`` leaves warnings and errors."""
    # All services begin with this, and each holds a password, a token or credentials.
    keep_memory_private()
    log: LeveledLogger = stderr_logger(logging.WARNING if quiet else logging.INFO)
    return log


def on_signals(stop: Callable[[], object]) -> None:
    """Call ``stop`` on the first Ctrl-C or SIGTERM and exit at once on the second."""
    stopping = asyncio.Event()

    def on_signal() -> None:
        # A shutdown that hangs, on a broker that is away, must not need SIGKILL.
        if stopping.is_set():
            os._exit(1)
        stopping.set()
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


async def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it ends or a signal cancels it. Raises what it raises."""
    task = asyncio.create_task(work)
    on_signals(task.cancel)
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
