"""Journal of a run: one event a line, as JSON. There is one writer, and two readers.

:func:`read_journal` is strict and :func:`recover_journal` tolerant: the first is for journals that
must be whole, the second for people who look into what is left of one, or of another version's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from worker.core.event_stream import EventStream
from worker.core.events import AnyEvent, RunComplete, decode_event, decode_leniently, to_json
from worker.errors import UsageError, WorkerError, cannot_write
from worker.util.nesting import VALUE_LIMIT, has_more_values
from worker.util.private_files import make_private_folder, open_private


class EventLines:
    """Sink that writes each event to a stream, one a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def receive(self, event: AnyEvent) -> None:
        self._stream.write(to_json(event) + "\n")
        # Somebody may follow the journal, and a crash must not lose what has happened.
        self._stream.flush()

    def close(self) -> None:
        """Leave the stream open: its owner closes it."""


class Journal:
    """Sink that writes a file. It overwrites an earlier journal, but no other file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # A mistyped path must not destroy a workflow or an input.
        if path.exists() and not is_journal(path):
            raise UsageError(f"{path} exists and is not a journal: choose another file")
        try:
            make_private_folder(path.parent)
            # Without a buffer: what a full disk refuses must not be written later.
            self._file = open_private(path, buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error

    def receive(self, event: AnyEvent) -> None:
        line, size = f"{to_json(event)}\n".encode(), self._file.tell()
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError:
            # A full disk takes a part: a journal has whole lines.
            with contextlib.suppress(OSError):
                self._file.truncate(size)
            raise

    def close(self) -> None:
        self._file.close()


def is_journal(path: Path) -> bool:
    """Return True if the file is empty or begins with an event."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(20)
    return head == b"" or head.startswith(b'{"type":"run:')


# --- reading --------------------------------------------------------------------------------------


class JournalError(WorkerError):
    """The journal is damaged or incomplete."""


def read_journal(path: Path) -> Iterator[AnyEvent]:
    """Read the events of a whole journal of one run.

    Raises :class:`JournalError` with file and line at the first line that is not an event of this
    version or not the next event of the run, and at the end if the run did not complete.
    """
    stream: EventStream | None = None
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                _check_values(line)
                event = decode_event(line)
                stream = stream or EventStream(event.run_id)
                stream.check(event)
            except ValueError as error:
                cut = " (the file ends within the line)" if not line.endswith(b"\n") else ""
                raise JournalError(f"{path}:{number}: {error}{cut}") from error
            yield event
    if stream is None or not stream.completed:
        raise JournalError(f"{path}:{number}: the journal ends before its run does")


def _check_values(line: bytes) -> None:
    """Raise ``ValueError`` for a line with so many values that to decode it would fill memory."""
    if has_more_values(line):
        raise ValueError(f"more than {VALUE_LIMIT:,} values")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredJournal:
    """The readable events of a journal, and a sentence for each damage."""

    events: tuple[AnyEvent, ...]
    damage: tuple[str, ...]


def recover_journal(path: Path) -> RecoveredJournal:
    """Read the events up to the first damaged line. Raises ``OSError`` for an unreadable file.

    Unknown fields and unknown types of events are left out: a later version may have written them.
    """
    events: list[AnyEvent] = []
    damage: list[str] = []
    for number, line in enumerate(io.BytesIO(path.read_bytes()), 1):
        try:
            _check_values(line)
            event = decode_leniently(line)
        except ValueError as error:
            # After a gap the events do not belong together any more.
            damage.append(f"{path.name}:{number}: cut off or damaged, the rest is ignored: {error}")
            break
        if event is not None:
            events.append(event)
    if not damage and not (events and isinstance(events[-1], RunComplete)):
        damage.append(f"{path.name} ends before its run does")
    return RecoveredJournal(events=tuple(events), damage=tuple(damage))
