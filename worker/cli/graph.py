"""``worker graph``: draw a workflow."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from worker.cli.files import write_file
from worker.cli.options import PATH, WORKFLOW_PATH, command, option, pick_workflow
from worker.cli.value_types import OneOf
from worker.core.compile_plan import compile_plan
from worker.errors import PlanError
from worker.sinks.terminal_text import printable
from worker.view.graph.drawing import draw
from worker.view.graph.formats import format_from_name, render
from worker.workflow.load import load
from worker.workflow.model import Workflow

STDOUT = Path("-")


@command()
@click.argument("file", type=WORKFLOW_PATH)
@pick_workflow
@option("--output", "-o", type=PATH, metavar="FILE|-",
        help="Write to FILE; its suffix gives the format.  [default: Mermaid, to -]")  # fmt: skip
@option("--format", type=OneOf(["svg", "png", "html", "mmd", "dot"]),
        help="Format of the drawing.")  # fmt: skip
def graph(
    *, file: Path, workflow: str | None, output: Path | None = None, format: str | None = None
) -> int:
    """Draw a workflow, even one that could not run.

    \b
    Examples:
      worker graph graphs/referral.yaml -o referral.svg
      worker graph project.yaml --workflow "Case referral"
    """
    to_stdout = output is None or output == STDOUT
    chosen = format or ("mmd" if output is None or to_stdout else format_from_name(output))
    loaded = load(file, workflow=workflow)
    picture = render(draw(loaded), chosen)
    _warn(loaded)
    if output is None or to_stdout:
        sys.stdout.buffer.write(picture)
        sys.stdout.flush()
        return 0
    write_file(output, picture)
    print(f"wrote {printable(str(output))}")
    return 0


def _warn(workflow: Workflow) -> None:
    """Print what keeps the workflow from running."""
    try:
        compile_plan(workflow)
    except PlanError as error:
        print(f"warning: this could not run: {printable(str(error))}", file=sys.stderr)
