"""Images: the linear memory of an initialised instance, from which other instances start.

A base image is a file; a derived image is a base and the pages that differ from it. Globals and
tables are no part of an image: the build makes sure that the stack pointer is the only mutable
global, which has its first value between two calls, and that no table changes.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from functools import cached_property

from worker.engine.libc import libc

PAGE = mmap.PAGESIZE

Pages = tuple[tuple[int, bytes], ...]
"""Runs of pages that differ: offset and content."""


class Image:
    """A memory's content, kept as a private view: base pages are shared with all processes."""

    def __init__(self, descriptor: int, pages: Pages = ()) -> None:
        """Take a duplicate of the descriptor of a base image, and the pages that differ."""
        self.descriptor = os.dup(descriptor)
        self.size = os.fstat(descriptor).st_size
        # Their content is in the view alone: a runner holds the images of many workflows.
        self.page_runs = tuple(slice(offset, offset + len(content)) for offset, content in pages)
        """The start and the end of each run of pages that differ from the base."""
        self._view = mmap.mmap(
            self.descriptor, self.size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE
        )
        for offset, content in pages:
            self._view[offset : offset + len(content)] = content
        # The system counts a private view that can be written as the process's own memory, and a
        # runner has little of it beside the images of many workflows.
        self.address = address_of(self._view)
        if libc().mprotect(self.address, self.size, mmap.PROT_READ):
            raise OSError(ctypes.get_errno(), "cannot protect an image")

    def __del__(self) -> None:
        os.close(self.descriptor)

    @property
    def view(self) -> mmap.mmap:
        """The whole content, which cannot be written."""
        return self._view

    @cached_property
    def digest(self) -> bytes:
        """The hash of the whole content."""
        return hashlib.sha256(self._view).digest()

    @property
    def changed_bytes(self) -> int:
        """What this image holds in memory beyond its base."""
        return sum(run.stop - run.start for run in self.page_runs)

    def derive(self, memory: memoryview, written: Iterable[tuple[int, int]]) -> Image:
        """Return the image of a memory of the same size, as this one's base and what differs.

        ``written`` are the stretches (start and end, of whole pages) that may differ.
        """
        assert len(memory) == self.size
        with mmap.mmap(self.descriptor, self.size, mmap.MAP_PRIVATE, mmap.PROT_READ) as base:
            pages = (
                run for start, end in written for run in _differences(base, memory, start, end)
            )
            return Image(self.descriptor, tuple(pages))


def address_of(view: mmap.mmap) -> int:
    """Return the address of a mapping."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def memory_at(address: int, size: int) -> memoryview:
    """Return a view of the memory at an address, which must stay where it is."""
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


def _differences(
    base: mmap.mmap, memory: memoryview, begin: int, stop: int
) -> Iterator[tuple[int, bytes]]:
    start: int | None = None
    for offset in range(begin, stop, PAGE):
        # As bytes: views are compared byte by byte, which takes a hundred times as long.
        differs = bytes(memory[offset : offset + PAGE]) != base[offset : offset + PAGE]
        if differs and start is None:
            start = offset
        elif not differs and start is not None:
            yield start, bytes(memory[start:offset])
            start = None
    if start is not None:
        yield start, bytes(memory[start:stop])
