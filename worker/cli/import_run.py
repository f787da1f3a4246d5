"""``worker import``: make a recording of a run of Lightning, of the OpenFn CLI, or an older one."""

from __future__ import annotations

from pathlib import Path

import click

from worker.cli.options import PATH, command, option, workflow_file
from worker.errors import UsageError
from worker.replay.fleet_history import import_history, is_history
from worker.replay.importers import (
    ImportedRecording,
    import_cache,
    import_lightning,
    import_recording,
)
from worker.replay.recording import is_recording
from worker.sinks.terminal_text import printable
from worker.util.plural import count_of


@command("import")
@click.argument("source", type=PATH)
@option("--output", "-o", type=PATH, metavar="FILE", required=True,
        help="Write the recording to FILE.")  # fmt: skip
@workflow_file("Workflow of the run, which the cache of the OpenFn CLI does not hold.")
def import_run(
    *, source: Path, output: Path, workflow_file: Path | None, workflow: str | None
) -> int:
    """Make a recording of a run of Lightning or the OpenFn CLI.

    SOURCE is a Lightning run as JSON (with its steps, dataclips and logs), or a folder of the
    OpenFn CLI's cached steps, or what `worker orders export` wrote: then FILE is a folder, with a
    recording of each run. The requests of such a run are unknown: a replay takes the recorded
    output of steps that have an adaptor. A recording of an older format is written anew.

    \b
    Examples:
      worker import run.json -o runs/imported.jsonl
      worker import .cli-cache/referral --workflow-file w.json -o runs/cached.jsonl
    """
    if is_history(source):
        recordings = import_history(source, output)
        print(f"wrote {count_of(len(recordings), 'recording')} to {printable(str(output))}")
        return 0
    recording = _import(source, output, workflow_file, workflow)
    name, file = printable(recording.workflow), printable(str(recording.file))
    print(f"wrote a recording of '{name}' to {file}")
    return 0


def _import(
    source: Path, output: Path, workflow_file: Path | None, workflow: str | None
) -> ImportedRecording:
    if is_recording(source):
        return import_recording(source, output)
    if not source.is_dir():
        return import_lightning(source, output)
    if workflow_file is None:
        raise UsageError("the CLI's cache holds only outputs: add --workflow-file FILE")
    return import_cache(source, workflow_file, workflow, output)
