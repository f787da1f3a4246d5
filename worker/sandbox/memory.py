"""Memory of a process: its peak, and the limits that the kernel enforces."""

from __future__ import annotations

import os
import resource
import sys

from worker.sandbox.limits import MIB

_HEADROOM_BYTES = 16 * MIB
"""Memory that the interpreter itself may need beyond the run's limit."""

_ADDRESS_BYTES = 1024 * MIB
"""Addresses that files and reserved memory may take beyond the run's limit."""

JAVASCRIPT_SHARE = 3
"""How much more memory than the engine's limit a process may use that runs JavaScript alone.

The engine limits JavaScript by itself. What comes on top are the holes in its heap, and the texts
of states on their way out of it.
"""


def peak_memory() -> int:
    """Return the process's peak resident memory, in bytes."""
    return maxrss_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def maxrss_bytes(ru_maxrss: int) -> int:
    """Convert the peak memory of ``getrusage`` or ``wait4`` to bytes."""
    # macOS counts bytes and Linux KiB.
    return ru_maxrss if sys.platform == "darwin" else ru_maxrss * 1024


def data_ceiling(memory_bytes: int) -> int:
    """Return the data limit for this process that leaves a run ``memory_bytes``, and headroom."""
    return _figure_bytes(_DATA) + memory_bytes + _HEADROOM_BYTES


_SIZE, _DATA = 0, 5


def _figure_bytes(column: int) -> int:
    # Read without a file object: its buffer is an allocation, and the figure is taken here.
    return int(os.pread(_statm(), 200, 0).split()[column]) * resource.getpagesize()


_descriptors: dict[int, int] = {}


def open_figures() -> None:
    """Open what :func:`limit_data` reads, in a process that may open no files later."""
    if sys.platform == "linux":
        _statm()


def _statm() -> int:
    # One for each process: a forked one inherits the descriptor of its parent's figures.
    process = os.getpid()
    if process not in _descriptors:
        _descriptors[process] = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    return _descriptors[process]


def forbid_files() -> None:
    """Forbid this process to write files or core dumps."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def limit_data(memory_bytes: int) -> None:
    """Let this process use so much memory beyond what it uses now."""
    # macOS accepts RLIMIT_DATA and does not enforce it; there the engine's own limit must do.
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data_ceiling(memory_bytes), hard))


def limit_addresses(memory_bytes: int) -> None:
    """Let this process use so many addresses, and 1 GiB, beyond those that it uses now."""
    # What is mapped for reading alone is no data, but its page tables take memory: a page that is
    # read in each 2 MiB of a terabyte takes 2 GiB.
    if sys.platform == "linux":
        ceiling = _figure_bytes(_SIZE) + memory_bytes + _ADDRESS_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
