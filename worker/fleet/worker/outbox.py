"""The outbox: what is to be reported, on disk until the control plane has it.

One file for each attempt of a run: the lease on the first line, then an event a line. It is written
before anything is sent, and survives the process. (It is not flushed to the disk itself: a machine
that loses its power loses its runs too, and those are reported lost.)
"""

from __future__ import annotations

import fcntl
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from worker.errors import UsageError
from worker.fleet.messaging import messages as wire


class RunOutbox:
    """The events of one attempt of a run that the control plane has not acknowledged."""

    def __init__(
        self, path: Path, lease: wire.Lease, events: deque[bytes], file: IO[bytes]
    ) -> None:
        self.lease = lease
        self._path = path
        self._file = file
        self._events = events
        self._first = 0
        self._sent = 0
        self.complete = False

    @property
    def empty(self) -> bool:
        return not self._events

    @property
    def waits(self) -> bool:
        """Whether there is something that was not sent yet."""
        return self._sent < self._first + len(self._events)

    def add(self, event: bytes, *, last: bool) -> None:
        """Keep the next event; ``last`` says that the run is complete."""
        self._file.write(event + b"\n")
        self._file.flush()
        self._events.append(event)
        self.complete = last

    def take(self, limit: int, *, even_if_larger: bool) -> list[bytes]:
        """The next events to send, of ``limit`` bytes in sum; the first can be larger, if that is
        allowed."""
        taken: list[bytes] = []
        index = self._sent - self._first
        while index < len(self._events):
            event = self._events[index]
            limit -= len(event)
            if limit < 0 and (taken or not even_if_larger):
                break
            taken.append(event)
            index += 1
        self._sent += len(taken)
        return taken

    def acknowledge(self, upto: int) -> None:
        """The control plane has the events up to this number."""
        while self._events and self._first <= upto:
            self._events.popleft()
            self._first += 1
        self._sent = max(self._sent, self._first)

    def rewind(self) -> None:
        """What was sent and not acknowledged has to be sent again."""
        self._sent = self._first

    def close(self) -> None:
        """Leave the rest on disk, for the next process."""
        self._file.close()

    def discard(self) -> None:
        """All is said, or nothing of it is wanted."""
        self._events.clear()
        self._file.close()
        self._path.unlink(missing_ok=True)


class Outbox:
    """A folder of boxes, for one worker at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another worker uses the outbox {folder}: give it another") from error
        except OSError as error:
            raise UsageError(f"the outbox {folder} cannot be used: {error.strerror}") from error

    def open(self, lease: wire.Lease) -> RunOutbox:
        """A new box for an attempt of a run."""
        path = self._folder / f"{lease.run_id}.{lease.attempt}.jsonl"
        file = path.open("wb")
        file.write(wire.encode(lease) + b"\n")
        return RunOutbox(path, lease, deque(), file)

    def left(self) -> Iterator[RunOutbox]:
        """What an earlier process left. A line that was cut off was never acknowledged, and the
        run that it was of has died with it."""
        for path in sorted(self._folder.glob("*.jsonl")):
            head, *lines = path.read_bytes().split(b"\n")
            events = deque(line for line in lines[:-1] if _whole(line))
            try:
                lease = wire.decode(wire.Lease, head)
            except wire.WireError:
                path.unlink()
                continue
            box = RunOutbox(path, lease, events, path.open("ab"))
            # Its process is gone: there is nothing more to come, whatever the last event is.
            box.complete = True
            yield box

    def close(self) -> None:
        self._lock.close()


def _whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
