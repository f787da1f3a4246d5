"""Files of other file systems, as fsspec names them: ``s3://bucket/runs``, ``memory://runs``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from worker.errors import MachineError, UsageError, WorkerError
from worker.util.masking import hide_file_secrets

T = TypeVar("T")
PLACES = frozenset((
    "abfs", "abfss", "az", "adl", "gcs", "gs", "oss", "s3", "s3a", "hdfs", "webhdfs", "hf",
    "http", "https", "sftp", "ssh", "file", "local", "memory", "tar", "zip",
))  # fmt: skip
"""File systems that contain recordings. Others of fsspec execute what a file says (reference, dask,
pyscript), connect to programs of this machine, or write caches to a folder that the URL names."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """File of a file system of fsspec; ``name`` is its URL, ``size`` in bytes where it is known."""

    files: Any
    path: str
    name: str
    size: int | None = None


def is_url(place: object) -> bool:
    return "://" in str(place)


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it. Raises :class:`UsageError`."""
    _check_file_systems(url)
    readable_url = hide_file_secrets(url)
    try:
        # Part of an extra, and only URLs need it.
        import fsspec
    except ImportError:
        extra = "pip install 'workflow-worker[cluster]'"
        raise UsageError(f"{readable_url}: URLs need the extra 'cluster': {extra}") from None
    try:
        files, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, FileNotFoundError) as error:
        raise UsageError(f"{readable_url}: {reason_of(error)}") from error
    except Exception as error:
        raise MachineError(f"cannot reach {readable_url}: {reason_of(error)}") from error
    return files, path


def _check_file_systems(url: str) -> None:
    # As in fsspec: of several parts, one of lower-case letters alone is the name of a file system.
    for part in url.split("::"):
        name, separator, _ = part.partition("://")
        if (separator or re.fullmatch("[a-z]+", part)) and name not in PLACES:
            known = ", ".join(sorted(PLACES))
            raise UsageError(
                f"{hide_file_secrets(url)}: unknown file system '{name}' (expected one of {known})"
            )


@contextmanager
def machine_errors(action: str) -> Iterator[None]:
    """Raise :class:`MachineError` for what fails; ``action`` is such as ``read s3://bucket/a``.

    Its text, which may be logged, has no secrets of the URL.
    """
    try:
        yield
    except WorkerError:
        raise
    # Each file system has errors of its own, for a missing permission or a lost connection.
    except Exception as error:
        text = f"cannot {hide_file_secrets(action)}: {reason_of(error)}"
        raise MachineError(text) from error


def open_for_writing(url: str) -> IO[bytes]:
    """Open a file that appears when it is closed, as far as its file system can do that."""
    files, path = file_system(url)
    with machine_errors(f"write {url}"):
        opened: IO[bytes] = in_folder(files, path, lambda: files.open(path, "wb"))
        return opened


def in_folder(files: Any, path: str, write: Callable[[], T]) -> T:
    """Write a file; where its folder is missing, create that first."""
    try:
        return write()
    except FileNotFoundError:
        # Not before: object stores have no folders, and would be asked for a bucket.
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        return write()


def is_archive(files: Any) -> bool:
    return not {"zip", "tar"}.isdisjoint(_protocols(files))


def _protocols(files: Any) -> tuple[str, ...]:
    names: str | tuple[str, ...] = files.protocol
    return (names,) if isinstance(names, str) else names


def name_in(files: Any, path: str, url: str) -> str:
    """Return the URL of a file, for people; in an archive it names that too, as ``url`` does."""
    _, separator, container = url.partition("::")
    return hide_file_secrets(f"{files.unstrip_protocol(path)}{separator}{container}")


def reason_of(error: Exception) -> str:
    # Errors of file systems name the URL.
    text = hide_file_secrets(str(error).partition("\n")[0])
    if not text and isinstance(error, FileNotFoundError):
        return "there is no such file"
    return text or type(error).__name__
