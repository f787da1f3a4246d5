"""Places of recordings: files and folders of this machine, and URLs of other file systems.

A URL is one of fsspec: ``s3://bucket/runs``, ``zip://*.jsonl::runs.zip``, ``memory://runs``. Below
a URL, files that end in ``.jsonl`` are recordings; to look into each file would cost a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from worker.errors import LoadError, MachineError, UsageError
from worker.replay.recording import StoredRecording, is_recording, read_stored
from worker.workflow.documents.near_files import suggest_file

# Read together, as object stores serve many requests at once.
_BLOCK = 32


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """File of a file system of fsspec; ``name`` is its URL."""

    files: Any
    path: str
    name: str


class RecordingPlaces(Sequence[Path | StoredRecording]):
    """Recordings in their order, each read when it is taken.

    Those on this machine are paths, which whoever replays them reads, unless ``with_content``.
    """

    def __init__(self, places: Sequence[Path | RemoteFile], *, with_content: bool) -> None:
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
        return self._local(place)

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


def _read_together(places: Sequence[Path | RemoteFile], start: int) -> dict[int, StoredRecording]:
    """Read a recording and those after it in the same file system."""
    first = places[start]
    assert isinstance(first, RemoteFile)
    wanted = {
        number: place
        for number, place in enumerate(places[start : start + _BLOCK], start)
        if isinstance(place, RemoteFile) and place.files is first.files
    }
    try:
        contents = first.files.cat([place.path for place in wanted.values()])
    # Each file system has errors of its own, for a missing permission or a lost connection.
    except Exception as error:
        raise MachineError(f"cannot read {first.name}: {_reason(error)}") from error
    # For one path the answer is its content alone.
    if isinstance(contents, bytes):
        contents = {first.path: contents}
    return {
        number: StoredRecording(name=place.name, content=contents[place.path])
        for number, place in wanted.items()
    }


def find_recordings(places: Sequence[str | Path]) -> list[Path | RemoteFile]:
    """Return these recordings, and those in these folders and below them.

    Raises :class:`UsageError` where there is none.
    """
    recordings: list[Path | RemoteFile] = []
    for place in places:
        if "://" in str(place):
            recordings += _find_remote(str(place))
        else:
            recordings += _find_local(Path(place))
    if not recordings:
        raise UsageError("no recordings found (worker run --record FILE makes one)")
    return recordings


def _find_local(path: Path) -> list[Path]:
    if path.is_dir() and not is_recording(path):
        return sorted(filter(is_recording, path.rglob("*")))
    if path.exists():
        return [path]
    raise UsageError(f"there is no recording {path}{suggest_file(path)}")


def _find_remote(url: str) -> list[RemoteFile]:
    # Part of an extra, and only URLs need it.
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(url)
        if "*" in path:
            paths = sorted(p for p in files.glob(path) if not files.isdir(p))
        elif files.isdir(path):
            paths = sorted(p for p in files.find(path) if p.endswith(".jsonl"))
        elif files.exists(path):
            paths = [path]
        else:
            raise UsageError(f"there is no recording {url}")
    except (ImportError, ValueError, FileNotFoundError) as error:
        raise UsageError(f"{url}: {_reason(error)}") from error
    except UsageError:
        raise
    except Exception as error:
        raise MachineError(f"cannot read {url}: {_reason(error)}") from error
    return [RemoteFile(files, path, files.unstrip_protocol(path)) for path in paths]


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
