"""A folder of prepared files: owner-only, written under a lock, checked by hash before use.

The hash of a file that is as it was at the last check is not computed again, as that takes a tenth
of the start of a process.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from worker.util.cache_folder import root

_DIGEST_BYTES = 32
# A file that is changed twice within the clock's step has the same time of change both times.
_CLOCK_STEP_NS = 1_000_000_000


class PreparedFiles:
    """Files by key, each beside the hash of its content.

    A file is read only if the folder and the file belong to this user, nobody else can write them,
    and the content has its hash. Everything else counts as absent. Where the folder cannot be
    used, files are prepared anew in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder if folder is not None and _private_folder(folder) else None

    def get(self, key: str, prepare: Callable[[], bytes]) -> int:
        """Return a descriptor of the content for a key, which the caller closes.

        ``prepare`` makes the content where it is absent or damaged. Processes that need the same
        key at the same time wait for the first one instead of preparing it as well.
        """
        if (descriptor := self._open(key)) is not None:
            return descriptor
        with self._locked(key):
            if (descriptor := self._open(key)) is not None:
                return descriptor
            content = prepare()
            self._write(key, content)
        descriptor = self._open(key)
        return anonymous_file(content) if descriptor is None else descriptor

    def has(self, key: str) -> bool:
        """Return True where there is a file for the key, which may still prove damaged."""
        return self._folder is not None and (self._folder / key).exists()

    def can_keep(self) -> bool:
        """Return True where files stay for the next process."""
        return self._folder is not None and os.access(self._folder, os.W_OK)

    def _open(self, key: str) -> int | None:
        if self._folder is None:
            return None
        try:
            descriptor = os.open(self._folder / key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            if _is_private(os.fstat(descriptor)) and self._is_intact(key, descriptor):
                return descriptor
        except OSError:
            pass
        os.close(descriptor)
        return None

    def _is_intact(self, key: str, descriptor: int) -> bool:
        assert self._folder is not None
        recorded = (self._folder / f"{key}.sha256").read_bytes()
        expected, checked = recorded[:_DIGEST_BYTES], recorded[_DIGEST_BYTES:]
        state = os.fstat(descriptor)
        if checked == _version_of(state):
            return True
        with open(descriptor, "rb", closefd=False) as file:
            if hashlib.file_digest(file, "sha256").digest() != expected:
                return False
        if time.time_ns() - state.st_ctime_ns > _CLOCK_STEP_NS:
            self._replace(f"{key}.sha256", expected + _version_of(state))
        return True

    def _write(self, key: str, content: bytes) -> None:
        self._replace(key, content)
        self._replace(f"{key}.sha256", hashlib.sha256(content).digest())

    def _replace(self, name: str, data: bytes) -> None:
        if self._folder is None:
            return
        # Of this call alone: threads of a process check the same file at the same time.
        temporary = self._folder / f"{name}.{os.urandom(8).hex()}.new"
        # A full disk or a folder that has become read-only costs time at each start, not the run.
        with contextlib.suppress(OSError):
            try:
                with temporary.open("wb") as file:
                    file.write(data)
                    # After a loss of power, a file of the right size and time is whole.
                    file.flush()
                    os.fsync(file.fileno())
                temporary.chmod(0o600)
                temporary.rename(self._folder / name)
            finally:
                temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        try:
            if self._folder is None:
                raise OSError
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._folder / f"{key}.lock", flags, 0o600)
        except OSError:
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def anonymous_file(content: bytes) -> int:
    """Return the descriptor of a file without a name that has this content."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("engine", os.MFD_CLOEXEC)
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor


def default_folder() -> Path:
    """Return the folder of prepared files in the user's cache."""
    return root() / "engine"


def _private_folder(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
        return stat.S_ISDIR(state.st_mode) and _is_private(state)
    except OSError:
        return False


def _version_of(state: os.stat_result) -> bytes:
    """Return what differs once a file is written or replaced: nobody can set its time of change."""
    parts = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return " ".join(map(str, parts)).encode()


def _is_private(state: os.stat_result) -> bool:
    return state.st_uid == os.getuid() and not state.st_mode & 0o022
