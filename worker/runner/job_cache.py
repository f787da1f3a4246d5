"""Compiled jobs and conditions on disk, in ``<cache>/compiled``, for the start of the command.

An entry is one file, named by the hash of the source and of the compiler; it begins with the hash
of its name and content. An entry that is damaged, or that another user could have written, counts
as absent. Where the folder cannot be used, nothing is cached.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import msgspec.msgpack

from worker.compiler.compiled_job import CompiledJob
from worker.util.cache_folder import root
from worker.version import VERSION

MAX_ENTRIES = 4096
_DIGEST_BYTES = 32
_GRAMMAR = "tree_sitter_javascript"

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode


def read_job(source: str) -> CompiledJob | None:
    """Return the compiled job of a source, if it is cached."""
    return _decode(_read(_key("job", source)), CompiledJob)


def write_job(source: str, job: CompiledJob) -> None:
    _write(_key("job", source), _encode(job))


def read_condition(expression: str) -> str | None:
    """Return the compiled form of a condition, if it is cached."""
    return _decode(_read(_key("condition", expression)), str)


def write_condition(expression: str, compiled: str) -> None:
    _write(_key("condition", expression), _encode(compiled))


def _decode(content: bytes | None, type: type[T]) -> T | None:
    try:
        return None if content is None else msgspec.msgpack.decode(content, type=type)
    except msgspec.DecodeError:
        return None


# --- keys -----------------------------------------------------------------------------------------


def _key(kind: str, source: str) -> str | None:
    try:
        text = source.encode()
        return hashlib.sha256(b"\0".join([_compiler(), kind.encode(), text])).hexdigest()
    except (OSError, UnicodeEncodeError):
        return None


# By content and not by version: who changes the compiler must not get what the old one compiled.
@functools.cache
def _compiler() -> bytes:
    """Compute the hash of the compiler. Raises ``OSError`` if its files cannot be read."""
    digest = hashlib.sha256(VERSION.encode())
    for file in sorted((Path(__file__).parent.parent / "compiler").glob("*.py")):
        digest.update(file.read_bytes())
    for file in _grammar_files():
        state = file.stat()
        digest.update(f"{file.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.digest()


def _grammar_files() -> Iterator[Path]:
    # Found without an import, which is what the cache saves; not read, as they are a megabyte.
    spec = find_spec(_GRAMMAR)
    if spec is not None and spec.origin is not None:
        yield from sorted(Path(spec.origin).parent.glob("*.so"))


# --- files ----------------------------------------------------------------------------------------


def _read(key: str | None) -> bytes | None:
    folder = _folder(root())
    if key is None or folder is None:
        return None
    try:
        descriptor = os.open(folder / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read() if _is_private(os.fstat(descriptor)) else b""
    except OSError:
        return None
    content = data[_DIGEST_BYTES:]
    return content if data[:_DIGEST_BYTES] == _digest(key, content) else None


def _write(key: str | None, content: bytes) -> None:
    folder = _folder(root())
    if key is None or folder is None:
        return
    # A full disk or a read-only folder costs time at each start, not the run.
    with contextlib.suppress(OSError):
        _write_file(folder / key, _digest(key, content) + content)
        _prune(folder)


def _write_file(path: Path, data: bytes) -> None:
    # Imported late: when all is cached, nothing is written.
    import tempfile

    # Written beside its place and renamed: a reader never gets half an entry.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


@functools.cache
def _folder(cache: Path) -> Path | None:
    """Return the folder if only this user can write to it; create it if it is absent."""
    folder = cache / "compiled"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
        return folder if stat.S_ISDIR(state.st_mode) and _is_private(state) else None
    except OSError:
        return None


def _is_private(state: os.stat_result) -> bool:
    return state.st_uid == os.getuid() and not state.st_mode & 0o022


# Once per process: listing the folder at each write would cost more than the write.
@functools.cache
def _prune(folder: Path) -> None:
    """Remove the oldest half of the entries where there are more than ``MAX_ENTRIES``."""
    with contextlib.suppress(OSError):
        entries = sorted(folder.iterdir(), key=lambda entry: entry.stat().st_mtime)
        if len(entries) > MAX_ENTRIES:
            for entry in entries[: len(entries) // 2]:
                entry.unlink(missing_ok=True)
