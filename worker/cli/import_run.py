"""``worker import``: a run that was recorded elsewhere, as a recording."""

from __future__ import annotations

from pathlib import Path

from worker.errors import UsageError
from worker.replay.importers import import_cache, import_lightning
from worker.sinks.terminal_text import printable


def import_run(source: Path, folder: Path, workflow: Path | None, pick: str | None) -> int:
    """Write the recording of a Lightning run (a file) or of the CLI's cache (a folder)."""
    if source.is_dir():
        if workflow is None:
            raise UsageError("the CLI's cache holds outputs alone: add --workflow FILE")
        found = import_cache(source, workflow, pick, folder)
    else:
        found = import_lightning(source, folder)
    print(f"wrote a recording of '{printable(found.name)}' to {printable(str(folder))}")
    return 0
