"""``worker diff``: show where two versions of a workflow differ."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from worker.cli.diff_output import as_json, as_markdown, as_text
from worker.cli.diff_sources import Versions
from worker.cli.files import write_file
from worker.cli.options import PATH, client_options, command, fuel, jobs, option, write_cases
from worker.cli.progress import progress
from worker.cli.value_types import OneOf, WholeNumberRange
from worker.comparison.lockstep import PAIRS_LIMIT
from worker.comparison.versions import VersionDiff, diff_versions
from worker.errors import UsageError
from worker.explore.export_cases import case_file
from worker.sinks.terminal_text import printable
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.cli.connection import BrokerConnection
    from worker.cli.diff_recordings import RecordedDiff


@command()
@click.argument("old_version", metavar="OLD")
@click.argument("new_version", metavar="NEW")
@option("--workflow", metavar="NAME",
        help="Workflow of projects, by key, id or name.")  # fmt: skip
@option("--limit", type=WholeNumberRange(min=1), default=PAIRS_LIMIT, show_default=True,
        metavar="N", help="Maximum number of situations to look at.")  # fmt: skip
@option("--recordings", type=PATH, metavar="DIR",
        help="Replay the recordings in DIR with NEW too.")  # fmt: skip
@fuel
@jobs
@write_cases(help="Write the scenarios to FILE as cases for worker test, as NEW ends them.")
@option("--html", "page", type=PATH, metavar="FILE",
        help="Draw both versions beside each other, with the scenarios.")  # fmt: skip
@option("--format", type=OneOf(["text", "json", "markdown"]), default="text",
        show_default=True, help="Format of the output.")  # fmt: skip
@option("--json", "json_lines", is_flag=True, help="Print one JSON object a line.")
@option("--project", default="default", show_default=True, metavar="NAME",
        help="Project of a fleet that NAME@VERSION belongs to.")  # fmt: skip
@client_options
def diff(
    *,
    connection: BrokerConnection,
    old_version: str,
    new_version: str,
    workflow: str | None,
    limit: int,
    recordings: Path | None,
    counts_fuel: bool,
    jobs: int,
    write_cases: Path | None,
    page: Path | None,
    format: str,
    json_lines: bool,
    project: str,
) -> int:
    """Show where two versions of a workflow differ.

    OLD and NEW are files, files of a git revision as REV:PATH, or versions that are deployed to a
    fleet as NAME@VERSION or NAME@latest. Both versions are walked through every outcome of their
    steps, and every value that some state gives their conditions. The output lists the shortest
    scenarios after which they differ, and the definitions that changed.

    \b
    Examples:
      worker diff HEAD:project.yaml project.yaml
      worker diff old.yaml new.yaml --workflow "Case referral"
      worker diff main:project.yaml project.yaml --format markdown
      worker diff old.yaml new.yaml --write-cases changed.cases.yaml
      worker diff HEAD:project.yaml project.yaml --recordings runs --fuel
      worker diff Referral@latest referral.yaml --mqtt mqtts://broker.example
      worker diff Referral@3f08a1 Referral@latest --project north

    \b
    Exit code: 0 nothing differs, 1 something does,
    2 wrong usage or an unreadable file.
    """
    if counts_fuel and recordings is None:
        raise UsageError("--fuel counts the instructions of recorded runs: add --recordings DIR")
    versions = Versions(workflow=workflow, connection=connection, project=project)
    old, new = map(versions.load, (old_version, new_version))
    with progress("comparing"):
        result = diff_versions(old, new, limit=limit)
    if write_cases is not None:
        _write_cases(write_cases, new_version, new, result, workflow)
    if page is not None:
        _write_page(page, old, new, result)
    chosen = "json" if json_lines else format
    # Before anything is printed: a folder without recordings is a usage error.
    recorded = None if recordings is None else _replay(recordings, new, jobs, fuel=counts_fuel)
    for line in _lines(result, chosen, old_version, new_version):
        print(line)
    if recorded is not None:
        for line in recorded.lines(chosen):
            print(line)
    # A recording that cannot be replayed proves nothing.
    return int(
        result.differs or (recorded is not None and recorded.different + recorded.unreadable > 0)
    )


def _replay(folder: Path, workflow: Workflow, jobs: int, *, fuel: bool) -> RecordedDiff:
    # A replay imports as much as the rest of the command.
    from worker.cli.diff_recordings import replay_folder

    return replay_folder(folder, workflow, jobs, fuel=fuel)


def _lines(diff: VersionDiff, format: str, old: str, new: str) -> Iterator[str]:
    match format:
        case "json":
            return as_json(diff)
        case "markdown":
            return as_markdown(diff, old, new)
        case _:
            return as_text(diff)


def _write_cases(
    target: Path, source: str, workflow: Workflow, diff: VersionDiff, pick: str | None
) -> None:
    from worker.cli.write_case_file import write_case_file

    file = Path(source)
    if not file.exists():
        raise UsageError("--write-cases needs NEW to be a file, as the cases name it")
    rows = [scenario.new_run.run() for scenario in diff.comparison.scenarios]
    write_case_file(target, lambda name: case_file(workflow, name, rows, pick), file)


def _write_page(target: Path, old: Workflow, new: Workflow, diff: VersionDiff) -> None:
    from worker.view.graph.drawing import draw
    from worker.view.graph.html import render_side_by_side

    page = render_side_by_side(draw(old), draw(new), list(as_text(diff)))
    write_file(target, page.encode())
    print(f"wrote {printable(str(target))}", file=sys.stderr)
