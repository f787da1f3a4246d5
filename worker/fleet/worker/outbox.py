"""The outbox: events on disk until the control plane has acknowledged them.

There is one file for each attempt of a run: its lease on the first line, then one event per line.
Events are written before they are sent, together with those that come in the same turn of the event
loop, and survive the process. What cannot be sent is set aside:
its file is moved to the folder ``dead-letter``, with the reason in a file beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from worker.errors import UsageError, reason_of
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.worker_protocol import Lease
from worker.util import invariant_checks
from worker.util.invariant_checks import Invariant
from worker.util.nesting import ENVELOPE_LEVELS, NESTING_LIMIT, nests_deeper
from worker.util.private_files import make_private_folder, open_private
from worker.util.whole_files import write_whole

DEAD_LETTER = "dead-letter"


class RunOutbox:
    """The unacknowledged events of one attempt of a run."""

    def __init__(
        self,
        path: Path,
        lease: Lease,
        events: deque[bytes],
        file: IO[bytes] | None = None,
        first_seq: int = 0,
    ) -> None:
        self.lease = lease
        self._path = path
        # Created with the first event: until then it would say nothing.
        self._file = file
        self._unwritten: list[bytes] = []
        self._events = events
        self._first = self._sent = first_seq
        self.complete = False
        self.write_error = ""
        """Why events are in memory alone, where the file cannot be written."""
        self.unreadable = ""
        """Why an earlier process's events after these cannot be read, if there are any."""
        self.is_replaced = False
        """True where the events were set aside, and those that are here took their place."""

    @property
    def next_seq(self) -> int:
        """The number of the event that is added next."""
        return self._first + len(self._events)

    @property
    def first_seq(self) -> int:
        """The number of the first event that is not acknowledged."""
        return self._first

    @property
    def empty(self) -> bool:
        return not self._events

    @property
    def has_unsent(self) -> bool:
        return self._sent < self._first + len(self._events)

    def next_if_over(self, limit_bytes: int) -> bytes | None:
        """Return the next event to send, if it is larger than ``limit_bytes``."""
        event = self._events[self._sent - self._first]
        return event if len(event) > limit_bytes else None

    def add(self, event: bytes, *, last: bool) -> None:
        """Append an event; ``last`` marks the run as complete."""
        self._unwritten.append(event)
        self._events.append(event)
        self.complete = last

    def flush(self) -> None:
        """Write the events that are not in the file yet."""
        lines, self._unwritten = self._unwritten, []
        if not lines or self.write_error:
            return
        try:
            if self._file is None:
                # Without a buffer: what a full disk refuses must not be written later.
                self._file = open_private(self._path, buffering=0)
                lines.insert(0, wire.encode(self.lease))
            # To the system but not to the disk: a machine that loses its power loses its runs too,
            # and those are reported lost.
            _write_all(self._file, b"\n".join((*lines, b"")))
        except OSError as error:
            # The events are in memory too, and are sent. Should this process end before, the run is
            # lost; what is in the file then is a beginning, which the next process reads as one.
            self.write_error = reason_of(error)

    @property
    def waiting(self) -> int:
        """The number of events that are not acknowledged."""
        return len(self._events)

    def take(self, limit_bytes: int) -> list[bytes]:
        """Return the next events to send, within ``limit_bytes``, and mark them as sent."""
        self.flush()
        taken: list[bytes] = []
        index = self._sent - self._first
        while index < len(self._events):
            event = self._events[index]
            limit_bytes -= len(event)
            if limit_bytes < 0:
                break
            taken.append(event)
            index += 1
        self._sent += len(taken)
        return taken

    def acknowledge(self, upto: int) -> None:
        """Remove the events up to a number."""
        if upto >= self.next_seq:
            invariant_checks.note(
                Invariant.OUTBOX_ACKNOWLEDGED,
                f"event {upto} of run {self.lease.run_id}, and the last is {self.next_seq - 1}",
            )
        while self._events and self._first <= upto:
            self._events.popleft()
            self._first += 1
        self._sent = max(self._sent, self._first)

    def rewind(self) -> None:
        """Mark the unacknowledged events as not sent."""
        self._sent = self._first

    def close(self) -> None:
        """Close the file and leave it on disk, for the next process."""
        self.flush()
        _close(self._file)

    def replace(self, event: bytes, seq: int, reason: str) -> None:
        """Set the events aside, and end the run with ``event``, number ``seq``, instead."""
        self.flush()
        _close(self._file)
        if not self.is_replaced:
            set_aside(self._path, reason)
        self.unreadable = reason
        self._file, self.write_error = None, ""
        self._events.clear()
        self._first = self._sent = seq
        self.is_replaced = True
        self.add(event, last=True)
        self.flush()

    def discard(self) -> None:
        """Delete the events and the file."""
        self._events.clear()
        self._unwritten.clear()
        _close(self._file)
        # A folder that has become read-only: the file is recovered, and its events refused.
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


class Outbox:
    """A folder of run outboxes, locked for one worker at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unreadable: list[str] = []
        """Files that were set aside by :meth:`recover`, with their reasons."""
        try:
            # Events contain data of patients: nobody else may read them.
            make_private_folder(folder)
            self._lock = open_private(folder / "lock")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise UsageError(
                f"the outbox {folder} is in use by another worker: choose another folder"
            ) from error
        except OSError as error:
            raise UsageError(f"cannot use the outbox {folder}: {error.strerror}") from error

    def open(self, lease: Lease) -> RunOutbox:
        """Return the outbox of an attempt that begins."""
        path = self.folder / f"{lease.run_id}.{lease.attempt}.jsonl"
        return RunOutbox(path, lease, deque())

    def erase(self, run_id: str) -> int:
        """Delete the files of a run, those that were set aside included. Return their number."""
        files = [
            path
            for folder in (self.folder, self.folder / DEAD_LETTER)
            for path in folder.glob(f"{run_id}.*")
            # An id may contain a full stop: another run's name may begin like this one.
            if re.fullmatch(rf"{re.escape(run_id)}\.\d+\.jsonl(\.\d+)?(\.reason)?", path.name)
        ]
        for path in files:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        return len(files)

    def recover(self) -> Iterator[RunOutbox]:
        """Yield the outboxes that an earlier process left, whatever their content.

        A file without a lease is set aside (see ``unreadable``), or deleted where it is empty.
        """
        leases: set[tuple[str, int]] = set()
        for path in sorted(self.folder.glob("*.jsonl")):
            try:
                outbox = _read(path, leases)
            except (OSError, wire.WireError) as error:
                set_aside(path, str(error))
                self.unreadable.append(f"{path.name}: {error}")
                continue
            if outbox is not None:
                yield outbox

    def succeed(self, incarnation: str) -> str:
        """Write the incarnation that uses the folder; return the one before, or an empty text."""
        file = self.folder / "incarnation"
        # Without it a restarted worker waits for its name, and nothing else is lost.
        try:
            before = file.read_text("utf-8") if file.exists() else ""
            write_whole(file, incarnation.encode(), mode=0o600)
        except (OSError, UnicodeDecodeError):
            return ""
        return before if wire.is_id(before) else ""

    def close(self) -> None:
        self._lock.close()


class _Numbered(msgspec.Struct):
    seq: int


def set_aside(path: Path, reason: str) -> None:
    """Move a file to the dead letters, with the reason beside it."""
    folder = path.parent / DEAD_LETTER
    # A full disk or a folder without permission must not keep the worker from its runs.
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True, mode=0o700)
        target = _unused(folder, path.name)
        path.rename(target)
        with open_private(target.with_name(f"{target.name}.reason")) as file:
            file.write(f"{reason}\n".encode("utf-8", "replace"))


def _unused(folder: Path, name: str) -> Path:
    number = 1
    while (target := folder / (name if number == 1 else f"{name}.{number}")).exists():
        number += 1
    return target


def _write_all(file: IO[bytes], data: bytes) -> None:
    # Without a buffer, a full disk takes a part before it refuses.
    while data:
        data = data[file.write(data) :]


def _close(file: IO[bytes] | None) -> None:
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()


def _read(path: Path, leases: set[tuple[str, int]]) -> RunOutbox | None:
    head, *lines = path.read_bytes().split(b"\n")
    if not lines:
        # The process ended before the lease was written, so nothing was sent or executed.
        path.unlink()
        return None
    lease = wire.decode(Lease, head)
    if (lease.run_id, lease.attempt) in leases:
        raise wire.WireError("another file has the same lease")
    # A process that was killed may leave half a line. It was never sent, so never acknowledged, and
    # the events before it are complete.
    events, reason = _readable(lines[:-1])
    leases.add((lease.run_id, lease.attempt))
    first = msgspec.json.decode(events[0], type=_Numbered).seq if events else 0
    outbox = RunOutbox(path, lease, events, path.open("ab"), first)
    # Its process is gone, so no event follows, whatever the last one is.
    outbox.complete = True
    outbox.unreadable = reason
    return outbox


class _UnreadableError(Exception):
    """A line that is not the next event of its run."""


class _NotJsonError(_UnreadableError):
    def __init__(self) -> None:
        super().__init__("not JSON")


def _readable(lines: list[bytes]) -> tuple[deque[bytes], str]:
    """Return the events up to the first line that cannot be sent, and why it cannot."""
    events: deque[bytes] = deque()
    expected: int | None = None
    for line in lines:
        try:
            expected = _number(line, expected) + 1
        except _UnreadableError as error:
            torn = isinstance(error, _NotJsonError) and len(events) + 1 == len(lines)
            return events, "" if torn else f"line {len(events) + 2}: {error}"
        events.append(line)
    return events, ""


def _number(line: bytes, expected: int | None) -> int:
    """Return the number of an event. Raises :class:`_UnreadableError`."""
    if nests_deeper(line, NESTING_LIMIT + ENVELOPE_LEVELS):
        raise _UnreadableError("nested too deeply")
    try:
        line.decode()
        seq = msgspec.json.decode(line, type=_Numbered).seq
    except msgspec.ValidationError as error:
        raise _UnreadableError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _NotJsonError from error
    if seq < 0:
        raise _UnreadableError(f"event {seq}")
    # The control plane takes events in order: those after a gap would be sent for ever.
    if expected not in (None, seq):
        raise _UnreadableError(f"event {seq} instead of {expected}")
    return seq
