"""Places of recordings: files and folders of this machine, and URLs of other file systems.

A URL is one of fsspec: ``s3://bucket/runs``, ``zip://*.jsonl::runs.zip``, ``memory://runs``. Below
a URL, files that end in ``.jsonl`` are recordings; to look into each file would cost a request.

A single file can also be the history of a fleet that ``worker orders export`` writes, a run a line.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path
from tarfile import TarError
from typing import Any, TypeAlias, overload
from zipfile import BadZipFile

from worker.errors import LoadError, MachineError, UsageError
from worker.replay.history_source import HistoryRun, read_history_run, runs_of_history
from worker.replay.recording import StoredRecording, is_recording, read_stored
from worker.replay.recording_content import RecordingContent, unreadable_content
from worker.replay.remote_files import (
    RemoteFile,
    file_system,
    is_archive,
    is_url,
    machine_errors,
    name_in,
    reason_of,
)
from worker.util.masking import hide_file_secrets
from worker.workflow.documents.near_files import suggest_file

# Read together, as object stores serve many requests at once.
_BLOCK = 32
MAX_BYTES, _BLOCK_BYTES = 512 * 2**20, 64 * 2**20
"""Size of a recording, of which an archive of a few kilobytes may contain many gigabytes; and of
those that are read together."""


# RuntimeError is that of an encrypted file and of an unknown compression.
_DAMAGES = (
    BadZipFile,
    BadGzipFile,
    TarError,
    zlib.error,
    LZMAError,
    EOFError,
    KeyError,
    RuntimeError,
)
"""Errors of damaged files in archives."""

Place: TypeAlias = Path | RemoteFile | HistoryRun
"""Where a recording is: a file or folder, a file of fsspec, or a line of a history."""


class RecordingPlaces(Sequence[Path | StoredRecording]):
    """Recordings in their order, each read when it is taken.

    Those on this machine are paths, which whoever replays them reads, unless ``with_content``.
    """

    def __init__(self, places: Sequence[Place], *, with_content: bool) -> None:
        self._places, self._with_content = places, with_content
        self._block: dict[int, StoredRecording] = {}

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Path | StoredRecording: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Path | StoredRecording]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        place = self._places[index]
        if isinstance(place, RemoteFile):
            return self._remote(range(len(self))[index])
        return read_history_run(place) if isinstance(place, HistoryRun) else self._local(place)

    def _local(self, path: Path) -> Path | StoredRecording:
        if not self._with_content:
            return path
        try:
            return read_stored(path)
        except LoadError:
            # The replay has the same error, and reports it at its place.
            return path

    def _remote(self, index: int) -> StoredRecording:
        if index not in self._block:
            self._block = _read_together(self._places, index)
        return self._block[index]


def _read_together(places: Sequence[Place], start: int) -> dict[int, StoredRecording]:
    """Read a recording and those after it in the same file system."""
    first = places[start]
    assert isinstance(first, RemoteFile)
    if first.size is None or first.size > MAX_BYTES:
        return {start: _read_alone(first)}
    wanted = {start: first}
    size = first.size
    for number, place in enumerate(places[start + 1 : start + _BLOCK], start + 1):
        if isinstance(place, RemoteFile) and place.files is first.files:
            if place.size is None or place.size > MAX_BYTES:
                break
            size += place.size
            if size > _BLOCK_BYTES:
                break
            wanted[number] = place
    with machine_errors(f"read {first.name}"):
        # Not `cat`, for which "*" and "[" in the name of a file have a meaning.
        paths = [place.path for place in wanted.values()]
        answers = first.files.cat_ranges(paths, None, None, on_error="return")
    return {
        number: StoredRecording(name=place.name, content=_content(place, answer))
        for (number, place), answer in zip(wanted.items(), answers, strict=True)
    }


def _content(place: RemoteFile, answer: bytes | Exception) -> bytes | RecordingContent:
    """Return what was read; what only this file lacks makes it a damaged recording."""
    if not isinstance(answer, Exception):
        return answer
    # Not PermissionError: object stores have it for expired credentials, which no file can be read
    # with. An archive may be in such a store, so an error that is not of its format is an outage.
    if isinstance(answer, FileNotFoundError) or (is_archive(place.files) and _is_damage(answer)):
        return unreadable_content(f"cannot be read: {reason_of(answer)}")
    raise MachineError(f"cannot read {place.name}: {reason_of(answer)}") from answer


def _is_damage(error: Exception) -> bool:
    # That of damaged bzip2 data has no type of its own, and no number as those of the system have.
    return isinstance(error, _DAMAGES) or (type(error) is OSError and error.errno is None)


def _read_alone(place: RemoteFile) -> StoredRecording:
    """Read a recording whose size is not known; one that is too large is a damaged one."""
    content, size = b"", place.size
    if size is None:
        with machine_errors(f"read {place.name}"), place.files.open(place.path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    if (size or len(content)) <= MAX_BYTES:
        return StoredRecording(name=place.name, content=content)
    text = f"{size:,} bytes" if size else f"more than {MAX_BYTES:,} bytes"
    damage = f"{text}, and a recording has at most {MAX_BYTES:,}"
    return StoredRecording(name=place.name, content=unreadable_content(damage))


def find_recordings(places: Sequence[str | Path]) -> list[Place]:
    """Return these recordings, and those in these folders and below them.

    Raises :class:`UsageError` where there is none.
    """
    recordings: list[Place] = []
    for place in places:
        if is_url(place):
            recordings += _find_remote(str(place))
        else:
            recordings += _find_local(Path(place))
    if not recordings:
        raise UsageError("no recordings found (worker run --record FILE makes one)")
    return recordings


def _find_local(path: Path) -> Sequence[Place]:
    if path.is_dir() and not is_recording(path):
        return sorted(filter(is_recording, path.rglob("*")))
    if path.is_file():
        return runs_of_history(path) or [path]
    if path.exists():
        return [path]
    raise UsageError(f"{path}: there is no such file or folder{suggest_file(path)}")


def _find_remote(url: str) -> Sequence[Place]:
    files, path = file_system(url)
    with machine_errors(f"read {url}"):
        if "*" in path:
            listed = files.glob(path, detail=True)
        elif files.isdir(path):
            below = files.find(path, detail=True)
            listed = {name: info for name, info in below.items() if name.endswith(".jsonl")}
        elif files.exists(path):
            history = runs_of_history(RemoteFile(files, path, name_in(files, path, url)))
            if history:
                return history
            listed = {path: files.info(path)}
        else:
            raise UsageError(f"{hide_file_secrets(url)}: there is no recording")
    return [
        RemoteFile(files, path, name_in(files, path, url), _size(info))
        for path, info in sorted(listed.items())
        # Neither folders nor what is no file: links of an archive, pipes, devices.
        if info["type"] == "file"
    ]


def _size(info: Mapping[str, Any]) -> int | None:
    # Some servers of HTTP have no sizes.
    size = info.get("size")
    return None if size is None else int(size)
