"""Reader of recordings: one file, of which a crash may have left only the beginning."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec

from worker.adaptors.http.exchange import Exchange
from worker.core.events import AnyEvent, RunComplete, decode_leniently
from worker.errors import LoadError
from worker.replay.recording_content import (
    MAX_DAMAGE,
    Dataclips,
    RecordingContent,
    build_content,
)
from worker.replay.recording_lines import (
    RecordingHeader,
    begins_recording,
    check_values,
    dataclip_of_line,
    exchange_of,
    fields_of,
    header_of,
    plan_of,
    type_of,
)
from worker.workflow.documents.near_files import suggest_file

_HEAD_BYTES = 64


class _Sequenced(msgspec.Struct, frozen=True):
    """The number of an event of any type, and of any version."""

    seq: int | None = None


def is_recording_file(file: Path) -> bool:
    """Return True if the file begins like a recording."""
    # A pipe that somebody left in a folder may have no writer.
    if not file.is_file():
        return False
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    return head != b"" and begins_recording(head)


def read_file(file: Path) -> RecordingContent:
    """Read all that is whole in a recording.

    Raises :class:`LoadError` for another file, and for a recording of a newer version.
    """
    return parse_content(read_bytes(file), str(file))


def read_bytes(file: Path) -> bytes:
    """Read a file. Raises :class:`LoadError` with the reason if it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise LoadError(f"there is no such file{suggest_file(file)}", file=str(file)) from None
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror}", file=str(file)) from error


def parse_content(content: bytes, file: str) -> RecordingContent:
    """Parse the bytes of a file, like :func:`read_file`."""
    if not begins_recording(content):
        message = "not a recording (worker run --record FILE writes one)"
        raise LoadError(message, file=file)
    reader = _LineReader(file)
    reader.read_all(content)
    return reader.content()


class _LineReader:
    """Collects the lines of a recording. Types that it does not know are left out."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._header: RecordingHeader | None = None
        self._plan: dict[str, Any] | None = None
        self._events: list[AnyEvent] = []
        self._exchanges: list[Exchange] = []
        self._damage: list[str] = []
        self._dataclips = Dataclips(self._damage)
        self._next_seq = 0
        self._has_gap = False

    def content(self) -> RecordingContent:
        """Return what was read."""
        return build_content(
            self._header,
            self._plan,
            self._dataclips,
            self._events,
            self._exchanges,
            self._damage,
        )

    def read_all(self, content: bytes) -> None:
        """Read all lines, and note those that are damaged."""
        if not content:
            self._damage.append("the file is empty")
            return
        # Not all at once: an archive of kilobytes holds hundreds of millions of empty lines.
        for number, line in enumerate(io.BytesIO(content), 1):
            try:
                self._read(line)
            except ValueError as error:
                cut = not line.endswith(b"\n")
                problem = "cut off: the file ends within it" if cut else f"damaged: {error}"
                self._damage.append(f"line {number} is {problem}")
            if len(self._damage) >= MAX_DAMAGE:
                self._damage.append("the rest is ignored")
                return
        if not (self._events and isinstance(self._events[-1], RunComplete)):
            self._damage.append("the recording ends before its run does")

    def _read(self, line: bytes) -> None:
        """Read the next line. Raises ``ValueError`` for a damaged one."""
        match type_of(line):
            case "recording":
                self._header = header_of(fields_of(line), self._file)
            case "workflow":
                self._plan = plan_of(fields_of(line))
            case "dataclip":
                self._dataclips.add(*dataclip_of_line(line))
            case "exchange":
                self._exchanges.append(exchange_of(fields_of(line)))
            case "dropped":
                self._damage.append(f"{fields_of(line).get('requests')} requests had no room in it")
            case _:
                self._read_event(line)

    def _read_event(self, line: bytes) -> None:
        check_values(line)
        event = decode_leniently(line)
        seq = event.seq if event else _sequence_number(line)
        # A line of a newer version that is no event.
        if seq is None or self._has_gap:
            return
        if seq != self._next_seq:
            # After a gap the events do not belong together any more.
            self._has_gap = True
            raise ValueError(f"expected event {self._next_seq}, found {seq}; the rest is ignored")
        self._next_seq += 1
        if event is not None:
            self._events.append(event)


def _sequence_number(line: bytes) -> int | None:
    return msgspec.json.decode(line, type=_Sequenced).seq
