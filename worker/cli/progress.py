"""Progress of long work: shown on stderr while it lasts, if that is a terminal."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from worker.sinks.terminal_text import printable


def print_stage(text: str) -> None:
    """Print the stage that work of several programs has reached, on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[], object]]:
    """Show progress and yield the function to call for each finished part of ``total``.

    Nothing is shown where stderr is not a terminal.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda: None
        return
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

    class Throughput(TextColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f}/s")

    counts = (BarColumn(), MofNCompleteColumn(), Throughput("")) if total is not None else ()
    times = (TimeElapsedColumn(), *((TimeRemainingColumn(),) if total is not None else ()))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *counts, *times)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
