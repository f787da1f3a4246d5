"""Ways to make the memory of an instance its image again.

``MappedMemory`` maps the image copy-on-write over the linear memory, and asks the kernel which
pages were written. ``CopiedMemory`` copies the whole image; it works everywhere, and takes over
where the first one does not pass its check.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import resource
import sys
from collections.abc import Iterator
from typing import Protocol

from worker.engine.image import PAGE, Image, address_of, memory_at
from worker.engine.libc import libc

_PRIVATE_FIXED = 0x12
_READ_WRITE = 3
_DONT_NEED = 4

# The top byte of a pagemap entry: present (bit 63) or swapped (62), and no page of a file (61).
_WRITTEN = bytes(bool(top & 0xC0) and not top & 0x20 for top in range(256))
_WRITTEN_RUN = re.compile(b"\x01+")
# Copying a page more takes less time than one more slice.
_COPIED_RUN = re.compile(b"\x01(?:\x00?\x01)*")
_ENTRY_BYTES = 8

# A page that was written once is copied back after every later run as well. Past so many, mapping
# the image anew is cheaper.
_REMAP_PAGES = 2048
_NEVER_READ = -1

Runs = tuple[slice, ...]
"""Runs of pages: the start and the end of each, in bytes."""


class Memory(Protocol):
    """The linear memory of one instance, at a fixed address."""

    def load(self, image: Image) -> None:
        """Make the memory's first ``image.size`` bytes those of an image, whatever they are."""

    def restore(self) -> None:
        """Make them those of the image loaded last; only the engine has written since."""

    def written(self) -> list[tuple[int, int]]:
        """Return the start and end of each stretch that may differ from the base of the image."""

    def clear(self, start: int, end: int) -> None:
        """Make the bytes from ``start`` to ``end``, beyond the image, zero."""


class CopiedMemory:
    """Copies whole images."""

    def __init__(self, address: int) -> None:
        self._address = address
        self._image: Image | None = None
        self._source = 0

    def load(self, image: Image) -> None:
        self._image, self._source = image, image.address
        self.restore()

    def restore(self) -> None:
        assert self._image is not None
        ctypes.memmove(self._address, self._source, self._image.size)

    def written(self) -> list[tuple[int, int]]:
        assert self._image is not None
        return [(0, self._image.size)]

    def clear(self, start: int, end: int) -> None:
        ctypes.memset(self._address + start, 0, end - start)


class MappedMemory:
    """Maps images copy-on-write, and copies back only what was written (Linux)."""

    def __init__(self, address: int) -> None:
        self._address = address
        self._pagemap = _pagemap()
        self._image: Image | None = None
        self._content = memoryview(b"")
        self._source = memoryview(b"")
        self._written = b""
        self._runs: Runs = ()
        self._faults = _NEVER_READ

    def load(self, image: Image) -> None:
        if self._image is None or not _same_base(self._image, image):
            self._map(image)
            return
        self._image, self._source = image, memoryview(image.view)
        self.restore()
        self._copy(image.page_runs)

    def restore(self) -> None:
        assert self._image is not None
        # The first write to a page is a page fault. Where this process had none since the last
        # time, the pages written are those of the last time, and the kernel need not list them.
        if _page_faults() != self._faults:
            written = self._written_pages(self._image.size)
            if written.count(1) > _REMAP_PAGES:
                self._map(self._image)
                return
            if written != self._written:
                self._written, self._runs = written, tuple(_runs(written))
        self._copy(self._runs)
        self._faults = _page_faults()

    def written(self) -> list[tuple[int, int]]:
        assert self._image is not None
        runs = _WRITTEN_RUN.finditer(self._written_pages(self._image.size))
        return [(run.start() * PAGE, run.end() * PAGE) for run in runs]

    def clear(self, start: int, end: int) -> None:
        if libc().madvise(self._address + start, end - start, _DONT_NEED):
            raise OSError(ctypes.get_errno(), "cannot clear the engine's memory")

    def _map(self, image: Image) -> None:
        address = libc().mmap(
            self._address, image.size, _READ_WRITE, _PRIVATE_FIXED, image.descriptor, 0
        )
        if address != self._address:
            raise OSError(ctypes.get_errno(), "cannot map an image")
        self._image, self._source = image, memoryview(image.view)
        self._content = memory_at(address, image.size)
        self._faults = _NEVER_READ
        self._copy(image.page_runs)

    def _copy(self, runs: Runs) -> None:
        # Slices, as a run leaves dozens of short stretches, and a foreign call takes longer than
        # to copy one.
        content, source = self._content, self._source
        for run in runs:
            content[run] = source[run]

    def _written_pages(self, size: int) -> bytes:
        count = size // PAGE
        entries = os.pread(
            self._pagemap, count * _ENTRY_BYTES, self._address // PAGE * _ENTRY_BYTES
        )
        if len(entries) != count * _ENTRY_BYTES:
            raise OSError("cannot read which pages were written")
        return entries[_ENTRY_BYTES - 1 :: _ENTRY_BYTES].translate(_WRITTEN)


def _runs(written: bytes) -> Iterator[slice]:
    for run in _COPIED_RUN.finditer(written):
        yield slice(run.start() * PAGE, run.end() * PAGE)


def _page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


_descriptors: dict[int, int] = {}


def _pagemap() -> int:
    # One for the process, opened before files are forbidden to it. A forked process inherits the
    # descriptor of its parent's pages.
    process = os.getpid()
    if process not in _descriptors:
        _descriptors[process] = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    return _descriptors[process]


def mapping_works() -> bool:
    """Check with a memory of this process's own that mapping and finding written pages work."""
    if sys.platform != "linux":
        return False
    try:
        return _mapping_works()
    except OSError:
        return False


def _mapping_works() -> bool:
    from worker.engine.prepared_files import anonymous_file

    content = b"".join(bytes([number]) * PAGE for number in range(1, 9))
    descriptor = anonymous_file(content)
    try:
        image = Image(descriptor)
    finally:
        os.close(descriptor)
    memory = mmap.mmap(-1, len(content), mmap.MAP_PRIVATE)
    mapped = MappedMemory(address_of(memory))
    mapped.load(image)
    untouched = memory[:] == content
    memory[2 * PAGE + 5] = memory[7 * PAGE] = 99
    written = mapped._written_pages(image.size)
    mapped.restore()
    restored = memory[:] == content
    # A system that does not count page faults would leave the page of a second run written.
    memory[2 * PAGE] = memory[4 * PAGE] = 98
    mapped.restore()
    return (
        untouched
        and restored
        and written == bytes([0, 0, 1, 0, 0, 0, 0, 1])
        and memory[:] == content
    )


def _same_base(first: Image, second: Image) -> bool:
    same_size = first.size == second.size
    return same_size and os.path.sameopenfile(first.descriptor, second.descriptor)
