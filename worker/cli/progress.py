"""Progress of long work: shown on stderr while it lasts, if that is a terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from worker.sinks.terminal_text import printable

if TYPE_CHECKING:
    from rich.progress import Progress


def print_stage(text: str) -> None:
    """Print the stage that work of several programs has reached, if stderr is a terminal."""
    if _is_shown():
        print(printable(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[], object]]:
    """Show progress and yield the function to call for each finished part of ``total``.

    ``what`` is the work, such as ``replaying``. Nothing is shown where stderr is not a terminal.
    """
    if not _is_shown():
        yield lambda: None
        return
    bar = _bar(total)
    # Its thread takes no Ctrl-C: what holds it back in the main thread would lose it there.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        bar.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _bar(total: int | None) -> Progress:
    # Imported late: most commands show no progress.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Count(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.completed:,.0f}" if task.completed else "")

    class Throughput(TextColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f}/s")

    counts = (BarColumn(), MofNCompleteColumn()) if total is not None else (Count(""),)
    times = (TimeElapsedColumn(), *((TimeRemainingColumn(),) if total is not None else ()))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *counts, Throughput(""), *times)
    # Lines of the output go above the bar on a terminal. Elsewhere they must not: they would be
    # missing in the file or pipe that they are for.
    return Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )


def _is_shown() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
