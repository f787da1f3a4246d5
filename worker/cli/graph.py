"""``worker graph``: a workflow's graph, drawn."""

from __future__ import annotations

import sys
from pathlib import Path

from worker.core.compile_plan import compile
from worker.errors import PlanError, UsageError
from worker.sinks.terminal_text import printable
from worker.view.graph.drawing import draw
from worker.view.graph.formats import format_from_name, render
from worker.workflow.load import load
from worker.workflow.model import Workflow

STDOUT = Path("-")


def graph(file: Path, workflow: str | None, output: Path | None, format: str | None) -> int:
    """0 where the picture was written, even of a workflow that could not run.

    ``output`` (None or ``-``: stdout) decides on the format if ``format`` does not; on stdout it
    is Mermaid. Raises LoadError on an unreadable file and on several workflows with none picked,
    UsageError on an unknown format, and on a file that cannot be written.
    """
    to_stdout = output is None or output == STDOUT
    chosen = format or ("mmd" if output is None or to_stdout else format_from_name(output))
    found = load(file, workflow=workflow)
    picture = render(draw(found), chosen)
    _warn(found)
    if output is None or to_stdout:
        sys.stdout.buffer.write(picture)
        sys.stdout.flush()
        return 0
    try:
        output.write_bytes(picture)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
    return 0


def _warn(workflow: Workflow) -> None:
    """What keeps the workflow from running, which the picture may show."""
    try:
        compile(workflow)
    except PlanError as error:
        print(f"warning: this could not run: {printable(str(error))}", file=sys.stderr)
