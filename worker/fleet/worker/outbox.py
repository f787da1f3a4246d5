"""The outbox: events on disk until the control plane has acknowledged them.

There is one file for each attempt of a run: its lease on the first line, then one event per line.
Events are written before they are sent, and survive the process.
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
    """The unacknowledged events of one attempt of a run."""

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
    def has_unsent(self) -> bool:
        return self._sent < self._first + len(self._events)

    def add(self, event: bytes, *, last: bool) -> None:
        """Append an event; ``last`` marks the run as complete."""
        self._file.write(event + b"\n")
        # Flushed to the system but not to the disk: a machine that loses its power loses its runs
        # too, and those are reported lost.
        self._file.flush()
        self._events.append(event)
        self.complete = last

    def take(self, limit_bytes: int, *, even_if_larger: bool) -> list[bytes]:
        """Return the next events to send, within ``limit_bytes``, and mark them as sent.

        With ``even_if_larger`` the first event may exceed the limit.
        """
        taken: list[bytes] = []
        index = self._sent - self._first
        while index < len(self._events):
            event = self._events[index]
            limit_bytes -= len(event)
            if limit_bytes < 0 and (taken or not even_if_larger):
                break
            taken.append(event)
            index += 1
        self._sent += len(taken)
        return taken

    def acknowledge(self, upto: int) -> None:
        """Remove the events up to a number."""
        while self._events and self._first <= upto:
            self._events.popleft()
            self._first += 1
        self._sent = max(self._sent, self._first)

    def rewind(self) -> None:
        """Mark the unacknowledged events as not sent."""
        self._sent = self._first

    def close(self) -> None:
        """Close the file and leave it on disk, for the next process."""
        self._file.close()

    def discard(self) -> None:
        """Delete the events and the file."""
        self._events.clear()
        self._file.close()
        self._path.unlink(missing_ok=True)


class Outbox:
    """A folder of run outboxes, locked for one worker at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            # Events contain data of patients: nobody else may read them.
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise UsageError(
                f"the outbox {folder} is in use by another worker: choose another folder"
            ) from error
        except OSError as error:
            raise UsageError(f"cannot use the outbox {folder}: {error.strerror}") from error

    def open(self, lease: wire.Lease) -> RunOutbox:
        """Create the outbox of an attempt."""
        path = self._folder / f"{lease.run_id}.{lease.attempt}.jsonl"
        file = path.open("wb")
        file.write(wire.encode(lease) + b"\n")
        return RunOutbox(path, lease, deque(), file)

    def recover(self) -> Iterator[RunOutbox]:
        """Yield the outboxes that an earlier process left; delete those without a lease."""
        for path in sorted(self._folder.glob("*.jsonl")):
            head, *lines = path.read_bytes().split(b"\n")
            # A process that was killed may leave half a line. It was never sent, so never
            # acknowledged, and the events before it are complete.
            events = deque(line for line in lines[:-1] if _is_json(line))
            try:
                lease = wire.decode(wire.Lease, head)
            except wire.WireError:
                path.unlink()
                continue
            outbox = RunOutbox(path, lease, events, path.open("ab"))
            # Its process is gone, so no event follows, whatever the last one is.
            outbox.complete = True
            yield outbox

    def close(self) -> None:
        self._lock.close()


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
