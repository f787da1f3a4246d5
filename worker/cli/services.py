"""Log and signals of the processes that run until a signal comes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worker.sinks.log import LeveledLogger


def service_log(*, quiet: bool) -> LeveledLogger:
    """Return the log on stderr; ``quiet`` leaves warnings and errors."""
    # A run, which is no service, needs the signals alone.
    from worker.sandbox.confinement.process import keep_memory_private
    from worker.sinks.log import stderr_logger

    # All services begin with this, and each holds a password, a token or credentials.
    keep_memory_private()
    log: LeveledLogger = stderr_logger(logging.WARNING if quiet else logging.INFO)
    return log


def interrupt_on_signals() -> None:
    """Handle the first SIGTERM or SIGHUP as Ctrl-C, until :func:`on_signals` handles them.

    Their default would end the process without the ends of its ``with`` blocks.
    """
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [signal.Signals[name] for name in names]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Both the shell and the system send SIGHUP for one terminal: the second would interrupt
        # the ends of the blocks.
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


def on_signals(
    stop: Callable[[], object],
    at_once: Callable[[], object] = lambda: None,
    on_hangup: Callable[[], object] | None = None,
) -> None:
    """Call ``stop`` on the first Ctrl-C or SIGTERM; on the second call ``at_once`` and exit.

    SIGHUP calls ``on_hangup``, by default ``stop``, as a terminal that is closed sends it.
    """
    stopping = asyncio.Event()

    def on_signal() -> None:
        # A shutdown that hangs, on a broker that is away, must not need SIGKILL.
        if stopping.is_set():
            at_once()
            os._exit(1)
        stopping.set()
        stop()

    def stop_once() -> None:
        # Both the shell and the system send it for one terminal: it is no second signal.
        if not stopping.is_set():
            on_signal()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)
    # Windows has no such signal; nohup ignores it for processes that outlive their terminal.
    if hasattr(signal, "SIGHUP") and (
        on_hangup is not None or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    ):
        loop.add_signal_handler(signal.SIGHUP, on_hangup or stop_once)


async def until_signal(
    work: Coroutine[Any, Any, None], on_hangup: Callable[[], object] | None = None
) -> None:
    """Run ``work`` until it ends or a signal cancels it, as with :func:`on_signals`.

    Raises what it raises.
    """
    task = asyncio.create_task(work)
    on_signals(task.cancel, on_hangup=on_hangup)
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
