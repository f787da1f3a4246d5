"""``worker validate``: check that workflows can be read and run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from worker.cli.files import print_warnings
from worker.cli.options import PATH, command, pick_workflow
from worker.errors import PlanError
from worker.runner.prepare import Options, prepare
from worker.sinks.terminal_text import printable
from worker.workflow.load import load, workflow_names
from worker.workflow.model import StepKind, Workflow


@command()
@click.argument("file", type=PATH)
@pick_workflow
def validate(*, file: Path, workflow: str | None) -> int:
    """Check that the workflows of a file can be read and run.

    \b
    Examples:
      worker validate project.yaml
      worker validate project.yaml --workflow "Case referral"

    \b
    Exit code: 0 all could run, 2 one could not, or the file is unreadable.
    """
    names = (workflow,) if workflow else (workflow_names(file) or (None,))
    return max([_check(load(file, workflow=name)) for name in names], default=0)


def _check(workflow: Workflow) -> int:
    name = printable(workflow.name)
    print_warnings(workflow)
    try:
        prepare(workflow, None, Options(), run_id="validate")
    except PlanError as error:
        print(f"{name}: {error.type}: {printable(str(error))}", file=sys.stderr)
        return 2
    jobs = sum(step.kind is StepKind.JOB for step in workflow.steps)
    print(f"{name}: {jobs} {'step' if jobs == 1 else 'steps'}, could run")
    return 0
