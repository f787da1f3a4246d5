"""Memory of a process: its peak, and the limits that the kernel enforces."""

from __future__ import annotations

import os
import resource
import sys

from worker.sandbox.limits import MIB, Limits

_HEADROOM_BYTES = 16 * MIB
"""Memory that the interpreter itself may need beyond the run's limit."""


def peak_memory() -> int:
    """Return the process's peak resident memory, in bytes."""
    return maxrss_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def maxrss_bytes(ru_maxrss: int) -> int:
    """Convert the peak memory of ``getrusage`` or ``wait4`` to bytes."""
    # macOS counts bytes and Linux KiB.
    return ru_maxrss if sys.platform == "darwin" else ru_maxrss * 1024


def data_ceiling(memory_bytes: int) -> int:
    """Return the data limit for this process that leaves a run ``memory_bytes``, and headroom."""
    # Read without a file object: its buffer is an allocation, and the figure is taken here.
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    data_pages = int(os.read(statm, 200).split()[5])
    os.close(statm)
    return data_pages * resource.getpagesize() + memory_bytes + _HEADROOM_BYTES


def confine(limits: Limits) -> None:
    """Forbid this process to write files or core dumps, and to exceed its memory limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # macOS accepts RLIMIT_DATA and does not enforce it; there the engine's own limit must do.
    if sys.platform == "linux":
        ceiling = data_ceiling(limits.memory_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
