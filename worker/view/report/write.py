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


def report(result: Result, path: str | Path) -> Path:
    """Write a run as one HTML page that opens offline, and return its path.

    It is the page of ``worker report``. Raises :class:`UsageError` for what is no result, and
    :class:`WorkerError` if the file cannot be written.
    """
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
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, page.encode())
    except OSError as error:
        raise cannot_write(target, error) from error
    return target
