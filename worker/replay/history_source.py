"""Runs of a fleet's history, read from its JSON lines as if they were recordings."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from worker.errors import LoadError, WorkerError
from worker.replay.fleet_history import HEAD_BYTES, begins_history, parse_line, write_recording
from worker.replay.recording import StoredRecording
from worker.replay.recording_content import unreadable_content
from worker.replay.remote_files import RemoteFile, machine_errors

MAX_LINE_BYTES = 512 * 2**20
"""Size of a run, which is cut off there: an archive of kilobytes may contain many gigabytes."""


class _Run(msgspec.Struct, frozen=True):
    run_id: str


class _Line(msgspec.Struct, frozen=True):
    run: _Run


@dataclass(frozen=True, slots=True)
class HistoryRun:
    """Line of a history: where it begins and ends in its file, in bytes."""

    file: Path | RemoteFile
    start: int
    end: int
    run_id: str

    @property
    def name(self) -> str:
        file = self.file if isinstance(self.file, Path) else self.file.name
        return f"{file}#{self.run_id}"


def runs_of_history(file: Path | RemoteFile) -> list[HistoryRun]:
    """List the runs of a history; none for a file of another kind.

    Raises :class:`LoadError` with the line that is no run.
    """
    name = str(file) if isinstance(file, Path) else file.name
    with machine_errors(f"read {name}"):
        opened = file.open("rb") if isinstance(file, Path) else file.files.open(file.path, "rb")
        with opened as lines:
            if not begins_history(lines.read(HEAD_BYTES)):
                return []
            lines.seek(0)
            return list(_runs(file, name, lines))


def _runs(file: Path | RemoteFile, name: str, lines: IO[bytes]) -> Iterator[HistoryRun]:
    start = 0
    for number in itertools.count(1):
        if not (line := lines.readline(MAX_LINE_BYTES)):
            return
        end = start + len(line)
        try:
            yield HistoryRun(file, start, end, msgspec.json.decode(line, type=_Line).run.run_id)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LoadError(f"no run of a history: {error}", file=name, line=number) from error
        start = end


def read_history_run(run: HistoryRun) -> StoredRecording:
    """Convert a line to a recording; one that cannot be converted is a damaged recording."""
    line = _bytes(run)
    try:
        # Through a file, as recordings of imported runs are: the same masking and the same ids.
        with tempfile.TemporaryDirectory(prefix="worker-history-") as folder:
            content = write_recording(parse_line(line), Path(folder)).file.read_bytes()
    except (WorkerError, ValueError, KeyError, TypeError, RecursionError) as error:
        damage = f"no run of a history: {error}"
        return StoredRecording(name=run.name, content=unreadable_content(damage))
    return StoredRecording(name=run.name, content=content)


def _bytes(run: HistoryRun) -> bytes:
    file = run.file
    if isinstance(file, RemoteFile):
        with machine_errors(f"read {file.name}"):
            return bytes(file.files.cat_file(file.path, start=run.start, end=run.end))
    with machine_errors(f"read {file}"), file.open("rb") as lines:
        lines.seek(run.start)
        return lines.read(run.end - run.start)
