"""``worker import``: make a recording of a run of Lightning or of the OpenFn CLI."""

from __future__ import annotations

from pathlib import Path

import click

from worker.cli.options import PATH, command, option, workflow_file
from worker.errors import UsageError
from worker.replay.importers import import_cache, import_lightning
from worker.sinks.terminal_text import printable


@command("import")
@click.argument("source", type=PATH)
@option("--output", "-o", "folder", type=PATH, metavar="DIR", required=True,
        help="Write the recording to DIR.")  # fmt: skip
@workflow_file("Workflow of the run, which the cache of the OpenFn CLI does not hold.")
def import_run(
    *, source: Path, folder: Path, workflow_file: Path | None, workflow: str | None
) -> int:
    """Make a recording of a run of Lightning or the OpenFn CLI.

    SOURCE is a Lightning run as JSON (with its steps, dataclips and logs), or a folder of the
    OpenFn CLI's cached steps. The requests of such a run are unknown: a replay takes the recorded
    output of steps that have an adaptor.

    \b
    Examples:
      worker import run.json -o runs/imported
      worker import .cli-cache/referral --workflow-file w.json -o runs/cached
    """
    if source.is_dir():
        if workflow_file is None:
            raise UsageError("the CLI's cache holds only outputs: add --workflow-file FILE")
        imported = import_cache(source, workflow_file, workflow, folder)
    else:
        imported = import_lightning(source, folder)
    print(f"wrote a recording of '{printable(imported.name)}' to {printable(str(folder))}")
    return 0
