"""``worker diff``: show where two versions of a workflow differ."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click

from worker.cli.diff_output import as_json, as_markdown, as_text
from worker.cli.diff_recordings import recorded_lines, replay_recordings
from worker.cli.diff_sources import load_version
from worker.cli.files import write_file
from worker.cli.options import PATH, command, fuel, jobs, option, write_cases
from worker.cli.progress import progress
from worker.cli.value_types import OneOf, WholeNumberRange
from worker.cli.write_case_file import write_case_file
from worker.comparison.lockstep import PAIRS_LIMIT
from worker.comparison.versions import VersionDiff, diff_versions
from worker.errors import UsageError
from worker.explore.export_cases import case_file
from worker.replay.recording_places import RecordingPlaces, find_recordings
from worker.sinks.terminal_text import printable
from worker.view.graph.drawing import draw
from worker.view.graph.html import render_side_by_side
from worker.workflow.model import Workflow


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
def diff(
    *,
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
) -> int:
    """Show where two versions of a workflow differ.

    OLD and NEW are files, or files of a git revision as REV:PATH. Both versions are walked through
    every outcome of their steps, and every value that some state gives their conditions. The
    output lists the shortest scenarios after which they differ, and the definitions that changed.

    \b
    Examples:
      worker diff HEAD:project.yaml project.yaml
      worker diff old.yaml new.yaml --workflow "Case referral"
      worker diff main:project.yaml project.yaml --format markdown
      worker diff old.yaml new.yaml --write-cases changed.cases.yaml
      worker diff HEAD:project.yaml project.yaml --recordings runs --fuel

    \b
    Exit code: 0 nothing differs, 1 something does,
    2 wrong usage or an unreadable file.
    """
    if counts_fuel and recordings is None:
        raise UsageError("--fuel counts the instructions of recorded runs: add --recordings DIR")
    old, new = (load_version(source, workflow) for source in (old_version, new_version))
    with progress("comparing"):
        result = diff_versions(old, new, limit=limit)
    if write_cases is not None:
        _write_cases(write_cases, new_version, new, result, workflow)
    if page is not None:
        _write_page(page, old, new, result)
    chosen = "json" if json_lines else format
    recorded = None
    if recordings is not None:
        recorded = asyncio.run(
            replay_recordings(
                RecordingPlaces(find_recordings([recordings]), with_content=False),
                new,
                jobs,
                fuel=counts_fuel,
            )
        )
    for line in _lines(result, chosen, old_version, new_version):
        print(line)
    for line in recorded_lines(recorded, chosen) if recorded else ():
        print(line)
    return int(result.differs or (recorded is not None and recorded.different > 0))


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
    file = Path(source)
    if not file.exists():
        raise UsageError("--write-cases needs NEW to be a file, as the cases name it")
    rows = [scenario.new_run.run() for scenario in diff.comparison.scenarios]
    write_case_file(target, lambda name: case_file(workflow, name, rows, pick), file)


def _write_page(target: Path, old: Workflow, new: Workflow, diff: VersionDiff) -> None:
    page = render_side_by_side(draw(old), draw(new), list(as_text(diff)))
    write_file(target, page.encode())
    print(f"wrote {printable(str(target))}")
