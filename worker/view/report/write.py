"""Report of a result, for Python callers."""

from __future__ import annotations

from pathlib import Path

from worker.core.events import Dataclip
from worker.errors import UsageError, cannot_write
from worker.runner.result import Result
from worker.util.whole_files import write_whole
from worker.view.graph.drawing import draw
from worker.view.report.build_run_view import build_run_view
from worker.view.report.compare import single_run_report
from worker.view.report.page import render_page
from worker.view.report.report_source import ReportSource

# A page under another suffix is opened by a program that cannot show it.
_SUFFIXES = ("", ".html", ".htm")


def check_suffix(file: Path) -> None:
    """Raise :class:`UsageError` for the name of a report that does not end as one of HTML."""
    if file.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"a report is a page of HTML: end {file} in .html")


def report(result: Result, path: str | Path) -> Path:
    """Write a run as one HTML page that opens offline, and return its path.

    It is the page of ``worker report``. Raises :class:`UsageError` for what is no result or a name
    that ends in another suffix, and :class:`WorkerError` if the file cannot be written.
    """
    target = Path(path)
    check_suffix(target)
    if not isinstance(result, Result) or result.workflow is None:
        raise UsageError(f"expected a Result of worker.run, found a {type(result).__name__}")
    source = ReportSource(
        name=result.run_id,
        workflow=result.workflow,
        workflow_known=True,
        events=result.events,
        input=None if result.input_text is None else Dataclip(text=result.input_text),
    )
    view, marks = build_run_view(source)
    page = render_page(single_run_report(view), [draw(source.workflow, marks)])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, page.encode())
    except OSError as error:
        raise cannot_write(target, error) from error
    return target
