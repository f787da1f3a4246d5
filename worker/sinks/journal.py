"""The journal: one event a line, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from worker.core.events import AnyEvent, from_dict, to_json
from worker.errors import UsageError, WorkerError


class Lines:
    """Writes events to a stream as they come, one a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def receive(self, event: AnyEvent) -> None:
        self._stream.write(to_json(event) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Leaves the stream open: it is its owner's."""


class Journal(Lines):
    """A file of events. It replaces a journal that was there before, and nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists() and not is_journal(path):
            raise UsageError(f"{path} exists and is no journal: choose another file")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            super().__init__(path.open("w", encoding="utf-8"))
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        self._stream.close()


def is_journal(path: Path) -> bool:
    """Whether a file is empty or begins with an event."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(20)
    return head == b"" or head.startswith(b'{"type":"run:')


class JournalError(WorkerError):
    """the journal is damaged"""


def read_journal(path: Path) -> Iterator[AnyEvent]:
    """The events of a journal. Raises :class:`JournalError` at the first line that is none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield from_dict(json.loads(line))
            except ValueError as error:
                cut = " (the file ends in the middle of it)" if not line.endswith("\n") else ""
                raise JournalError(f"{path}:{number}: not an event{cut}") from error
