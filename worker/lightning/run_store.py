"""Events of runs on disk until Lightning has accepted them, with the token to report them.

There is one file for each run: its id and token on the first line, then one event per line, and
a line with the number of events that are settled each time one is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct

from worker.errors import UsageError, reason_of
from worker.lightning.delivery import OutgoingEvent
from worker.lightning.serializer import encode_json


class _Head(Struct, frozen=True):
    run_id: str
    token: str
    expires_s: float


class _Settled(Struct, frozen=True):
    settled: int


class StoredRun(Struct, frozen=True, kw_only=True):
    """Run of an earlier process: its ``events``, of which the first ``settled`` are settled."""

    run_id: str
    token: str
    expires_s: float
    events: tuple[OutgoingEvent, ...]
    settled: int

    @property
    def pending(self) -> tuple[OutgoingEvent, ...]:
        return self.events[self.settled :]

    @property
    def is_complete(self) -> bool:
        return any(event.event == "run:complete" for event in self.events)

    @property
    def open_steps(self) -> dict[str, str]:
        """The steps that have started and not ended, and their jobs, by their ids."""
        steps: dict[str, str] = {}
        for event in self.events:
            if event.event == "step:start":
                steps[event.step_id] = event.payload["job_id"]
            elif event.event == "step:complete":
                steps.pop(event.step_id, None)
        return steps


class RunFile:
    """The file of one run. Where it cannot be written, the events are in memory alone."""

    def __init__(self, path: Path | None, head: _Head | None = None) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._settled = 0
        self.error = ""
        if path is not None:
            self._open(path, head)

    def _open(self, path: Path, head: _Head | None) -> None:
        try:
            # The token lets its holder read the run's data, and report in its name.
            flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if head else os.O_APPEND)
            self._file = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)
        except OSError as error:
            self.error = reason_of(error)
        if head is not None:
            self._write(head)

    def add(self, event: OutgoingEvent) -> None:
        self._write(event)

    def settle(self, count: int) -> None:
        """Note that so many more events need not be sent any more."""
        self._settled += count
        self._write(_Settled(self._settled))

    def _write(self, line: Any) -> None:
        if self._file is None:
            return
        try:
            data = encode_json(line) + b"\n"
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            # A file with a gap would report events that did not follow each other.
            self.error = reason_of(error)
            self.discard()

    def close(self) -> None:
        """Close the file and leave it for the next process."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def discard(self) -> None:
        """Delete the file."""
        self.close()
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


class RunStore:
    """Folder of the files of runs, locked for one worker; ``None`` keeps nothing on disk."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock: IO[str] | None = None
        if folder is not None:
            self._lock = _lock(folder)

    def open(self, run_id: str, token: str, expires_s: float) -> RunFile:
        """Create the file of a run."""
        if self._folder is None:
            return RunFile(None)
        return RunFile(self._path(run_id), _Head(run_id, token, expires_s))

    def reopen(self, run: StoredRun) -> RunFile:
        """Open the file of a run of an earlier process, to go on with it."""
        assert self._folder is not None
        file = RunFile(self._path(run.run_id))
        file.settle(run.settled)
        return file

    def recover(self, now_s: float) -> Iterator[StoredRun]:
        """Yield the runs that an earlier process left, and delete those that are too late."""
        paths = sorted(self._folder.glob("*.jsonl")) if self._folder is not None else []
        for path in paths:
            run = _read(path)
            if run is None or run.expires_s <= now_s:
                # Without a valid token no server accepts it, and its data must not stay here.
                path.unlink(missing_ok=True)
            else:
                yield run

    def _path(self, run_id: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{run_id}.jsonl"

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()


def _lock(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise UsageError(f"cannot use the outbox {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise UsageError(
            f"the outbox {folder} is in use by another worker: choose another folder or name"
        ) from error
    return lock


def _read(path: Path) -> StoredRun | None:
    """Read a file up to the line that its process did not finish; ``None`` without a head."""
    try:
        # The last element is what follows the last line feed: nothing, or half a line.
        lines = path.read_bytes().split(b"\n")[:-1]
        head = msgspec.json.decode(lines[0], type=_Head)
    except (OSError, IndexError, msgspec.DecodeError, ValueError):
        return None
    events: list[OutgoingEvent] = []
    settled = 0
    for line in lines[1:]:
        try:
            if line.startswith(b'{"settled"'):
                settled = msgspec.json.decode(line, type=_Settled).settled
            else:
                events.append(msgspec.json.decode(line, type=OutgoingEvent))
        except (msgspec.DecodeError, ValueError, RecursionError):
            break
    return StoredRun(
        run_id=head.run_id,
        token=head.token,
        expires_s=head.expires_s,
        events=tuple(events),
        settled=settled,
    )
