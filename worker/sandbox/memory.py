"""What a process has used of memory, and how it is kept from using more."""

from __future__ import annotations

import os
import resource
import sys

from worker.sandbox.limits import MIB, Limits


def peak_memory() -> int:
    """The process's peak resident memory, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def data_ceiling(memory: int) -> int:
    """The limit of this process's data that leaves a run ``memory`` bytes, and some headroom."""
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    pages = int(os.read(statm, 200).split()[5])
    os.close(statm)
    return pages * resource.getpagesize() + memory + _HEADROOM


_HEADROOM = 16 * MIB
"""What the interpreter itself may need beyond the run's limit."""


def confine(limits: Limits) -> None:
    """Take from this process what a run has no use for: files, cores, memory over its limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        ceiling = data_ceiling(limits.memory)
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
