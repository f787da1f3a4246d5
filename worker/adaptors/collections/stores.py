"""Stores of collections: in memory, and in a folder with one JSON file for each collection."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from worker.errors import WorkerError
from worker.util.json import dump_indented
from worker.util.whole_files import write_whole

TIMES_FOLDER = ".times"


class Item(Struct, frozen=True):
    """A value, as JSON text, and the times in microseconds at which it was created and set."""

    value: str
    created_us: int = 0
    updated_us: int = 0


Items = dict[str, Item]


class CollectionStore(Protocol):
    """Keeps collections; the keys of one are in the order in which they were created."""

    def update(self, name: str) -> Any:
        """Open a context with the items of a collection, or ``None`` where there is none.

        Changes to the items are kept when the context ends.
        """


class MemoryStore:
    """Collections of one case."""

    def __init__(self, collections: Mapping[str, Mapping[str, Any]]) -> None:
        self._collections = {
            name: {key: Item(json.dumps(value)) for key, value in values.items()}
            for name, values in collections.items()
        }

    @contextmanager
    def update(self, name: str) -> Iterator[Items | None]:
        yield self._collections.get(name)

    def values(self) -> dict[str, dict[str, Any]]:
        """Return the values by key, by collection."""
        return {
            name: {key: json.loads(item.value) for key, item in items.items()}
            for name, items in self._collections.items()
        }


class FolderStore:
    """Collections in ``NAME.json`` files (``{key: value}``), which several processes can share.

    The times of the items are beside them, in ``.times``; without them an item counts as old.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def update(self, name: str) -> Iterator[Items | None]:
        file = self._folder / f"{name}.json"
        # A name with a slash or a leading dot could lead out of the folder.
        if Path(name).name != name or name.startswith(".") or not file.is_file():
            yield None
            return
        times_file = self._folder / TIMES_FOLDER / f"{name}.json"
        times_file.parent.mkdir(exist_ok=True)
        with _lock(times_file.with_suffix(".lock")):
            before = _items(_read(file), _read(times_file))
            items = dict(before)
            yield items
            if items != before:
                _write(times_file, {k: [i.created_us, i.updated_us] for k, i in items.items()})
                _write(file, {key: json.loads(item.value) for key, item in items.items()})


def _items(values: Mapping[str, Any], times: Mapping[str, Any]) -> Items:
    return {
        key: Item(json.dumps(value), *(times.get(key) or (0, 0))) for key, value in values.items()
    }


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    # Workers that share a folder are processes of their own.
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise WorkerError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise WorkerError(f"{file}: expected an object of keys and values")
    return content


def _write(file: Path, content: Mapping[str, Any]) -> None:
    # As a whole: a reader without the lock, such as git, never sees half of it.
    write_whole(file, dump_indented(content).encode())
