"""The C library's functions on memory, which Python has only for mappings of its own."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def libc() -> ctypes.CDLL:
    """Return the C library, with the types of ``mmap``, ``mprotect`` and ``madvise``."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    for function in (library.mprotect, library.madvise):
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return library
