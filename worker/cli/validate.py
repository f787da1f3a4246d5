"""``worker validate``: check that workflows can be read and run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from worker.cli.files import print_warnings
from worker.cli.options import WORKFLOW_PATH, command, pick_workflow
from worker.cli.workflow_files import find_workflow_files
from worker.compiler.syntax import check_module
from worker.errors import LoadError, PlanError
from worker.runner.prepare import Options, prepare
from worker.sinks.terminal_text import excerpt_of, printable
from worker.util.plural import count_of
from worker.workflow.load import load_all
from worker.workflow.model import Language, StepKind, Workflow


@command()
@click.argument("files", type=WORKFLOW_PATH, nargs=-1)
@pick_workflow
def validate(*, files: tuple[Path, ...], workflow: str | None) -> int:
    """Check that workflows can be read and run.

    A key that no tool of OpenFn writes is an error, as what it was meant to set is not set.
    FILES are workflows, folders and patterns; cases and other files among them are skipped.
    Without FILES, it is the current folder.

    \b
    Examples:
      worker validate project.yaml
      worker validate project.yaml --workflow "Case referral"
      worker validate .

    \b
    Exit code: 0 all could run, 2 one could not, has an unknown key,
    or a file is unreadable.
    """
    return max([_check_file(file, workflow) for file in find_workflow_files(files)])


def _check_file(file: Path, workflow: str | None) -> int:
    try:
        workflows = load_all(file, workflow=workflow, located=True)
    except LoadError as error:
        # The other files are checked too.
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    return max([_check(loaded) for loaded in workflows], default=0)


def _check(workflow: Workflow) -> int:
    name = printable(workflow.name)
    print_warnings(workflow)
    try:
        prepare(workflow, None, Options(), run_id="validate")
        _check_syntax(workflow)
    except PlanError as error:
        place = printable(_place(workflow, error.step))
        print(f"error: {place}: {name}: {error.type}: {printable(str(error))}", file=sys.stderr)
        for line in excerpt_of(error):
            print(line, file=sys.stderr)
        return 2
    unknown = sum(warning.unknown_key for warning in workflow.warnings)
    if unknown:
        keys = "an unknown key" if unknown == 1 else f"{unknown} unknown keys"
        # What such a key was meant to set is not set, so the workflow runs otherwise than it reads.
        print(f"{name}: could run, but has {keys}", file=sys.stderr)
        return 2
    jobs = sum(step.kind is StepKind.JOB for step in workflow.steps)
    print(f"{name}: {count_of(jobs, 'step')}, could run")
    return 0


def _place(workflow: Workflow, step_id: str) -> str:
    """Return the file, with the line and column of the last step with the id where it is known."""
    positions = [step.position for step in workflow.steps if step.id == step_id]
    line, column = positions[-1] if positions else (0, 0)
    return f"{workflow.file}:{line}:{column}" if line else workflow.file


def _check_syntax(workflow: Workflow) -> None:
    """Raise ``PlanError`` for a source that the engine rejects, though the compiler does not."""
    sources = [
        (step.id, step.source_file or step.id, step.source)
        for step in workflow.steps
        if step.runs_code and step.language is Language.JAVASCRIPT
    ]
    # What does not compile in the global functions crashes the first step.
    for id, name, source in [("", "globals", workflow.globals), *sources]:
        try:
            check_module(source)
        except PlanError as error:
            raise error.of_step(id, name) from None
