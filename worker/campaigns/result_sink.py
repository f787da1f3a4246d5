"""Sink of results: JSON lines in a file of this machine, or of another file system."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from worker.errors import cannot_write
from worker.replay.remote_files import is_url, machine_errors, open_for_writing
from worker.util.private_files import open_private


class ResultSink:
    """Writes lines to a stream; without one, nothing."""

    def __init__(self, stream: IO[bytes] | None, name: str) -> None:
        self._stream, self._name = stream, name

    def write(self, line: bytes) -> None:
        if self._stream is not None:
            with machine_errors(f"write {self._name}"):
                self._stream.write(line)

    def close(self) -> None:
        if self._stream is not None:
            with machine_errors(f"write {self._name}"):
                self._stream.close()


@contextlib.contextmanager
def open_results(place: str | None) -> Iterator[ResultSink]:
    """Open a file or URL; nothing for ``None``. Raises :class:`WorkerError` if that fails."""
    sink = ResultSink(None if place is None else _open(place), place or "")
    yield sink
    # Not where the command fails: half of the results at a URL would look like all of them.
    sink.close()


def _open(place: str) -> IO[bytes]:
    if is_url(place):
        return open_for_writing(place)
    try:
        return open_private(Path(place))
    except OSError as error:
        raise cannot_write(Path(place), error) from error
