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
import sys
from typing import Protocol

from worker.engine.image import PAGE, Image

_PRIVATE_FIXED = 0x12
_READ_WRITE = 3
_DONT_NEED = 4

# The top byte of a pagemap entry: present (bit 63) or swapped (62), and no page of a file (61).
_WRITTEN = bytes(bool(top & 0xC0) and not top & 0x20 for top in range(256))
_WRITTEN_RUN = re.compile(b"\x01+")
_ENTRY_BYTES = 8

# A page that was written once is copied back after every later run as well. Past so many, mapping
# the image anew is cheaper.
_REMAP_PAGES = 2048


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
        self._image, self._source = image, _address_of(image.view)
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
        self._source = 0

    def load(self, image: Image) -> None:
        if self._image is None or not _same_base(self._image, image):
            self._map(image)
            return
        self._image, self._source = image, _address_of(image.view)
        self.restore()
        self._copy_pages(image)

    def restore(self) -> None:
        assert self._image is not None
        written = self._written_pages(self._image.size)
        if written.count(1) > _REMAP_PAGES:
            self._map(self._image)
            return
        for run in _WRITTEN_RUN.finditer(written):
            start, end = run.span()
            offset = start * PAGE
            ctypes.memmove(self._address + offset, self._source + offset, (end - start) * PAGE)

    def written(self) -> list[tuple[int, int]]:
        assert self._image is not None
        runs = _WRITTEN_RUN.finditer(self._written_pages(self._image.size))
        return [(run.start() * PAGE, run.end() * PAGE) for run in runs]

    def clear(self, start: int, end: int) -> None:
        if _libc().madvise(self._address + start, end - start, _DONT_NEED):
            raise OSError(ctypes.get_errno(), "cannot clear the engine's memory")

    def _map(self, image: Image) -> None:
        address = _libc().mmap(
            self._address, image.size, _READ_WRITE, _PRIVATE_FIXED, image.descriptor, 0
        )
        if address != self._address:
            raise OSError(ctypes.get_errno(), "cannot map an image")
        self._image, self._source = image, _address_of(image.view)
        self._copy_pages(image)

    def _copy_pages(self, image: Image) -> None:
        for offset, length in image.page_runs():
            ctypes.memmove(self._address + offset, self._source + offset, length)

    def _written_pages(self, size: int) -> bytes:
        count = size // PAGE
        entries = os.pread(
            self._pagemap, count * _ENTRY_BYTES, self._address // PAGE * _ENTRY_BYTES
        )
        if len(entries) != count * _ENTRY_BYTES:
            raise OSError("cannot read which pages were written")
        return entries[_ENTRY_BYTES - 1 :: _ENTRY_BYTES].translate(_WRITTEN)


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
    mapped = MappedMemory(_address_of(memory))
    mapped.load(image)
    untouched = memory[:] == content
    memory[2 * PAGE + 5] = memory[7 * PAGE] = 99
    written = mapped._written_pages(image.size)
    mapped.restore()
    return untouched and written == bytes([0, 0, 1, 0, 0, 0, 0, 1]) and memory[:] == content


def _address_of(view: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def _same_base(one: Image, other: Image) -> bool:
    return one.size == other.size and os.path.sameopenfile(one.descriptor, other.descriptor)


def _libc() -> ctypes.CDLL:
    if not _libraries:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
        libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        _libraries.append(libc)
    return _libraries[0]


_libraries: list[ctypes.CDLL] = []
