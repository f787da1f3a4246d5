"""Bounds of time and memory of one input."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

CPU_S = 10.0
CPU_S_PER_MB = 5.0
WALL_S = 120.0
"""Time after which an input that waits for something is a hang; other processes may be slow."""
GROWTH_MB = 400
MAX_THREADS = 32
"""Threads of the whole fuzzer, most of them of event loops: an input must leave none."""
MEMORY_MB = 4000
"""Memory of the whole fuzzer: a fault must not take the machine with it."""


class Exceeded(BaseException):
    """A bound was exceeded. No handler of the code under test catches it."""


@contextlib.contextmanager
def bounded(size_bytes: int) -> Iterator[None]:
    """Raise :class:`Exceeded` where the block takes too long, or too much memory, for its input."""
    limit_s = CPU_S + CPU_S_PER_MB * size_bytes / 2**20
    for name in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(name, _on_timeout)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    signal.setitimer(signal.ITIMER_REAL, WALL_S)
    before = _forget_peak()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        # Also of an input that was refused in the end.
        _check_growth((_peak_kb() - before) / 1024)
        _check_threads()


def _check_threads() -> None:
    if (count := threading.active_count()) > MAX_THREADS:
        raise Exceeded(f"{count} threads are left (limit {MAX_THREADS})")


def _check_growth(growth_mb: float) -> None:
    if growth_mb > GROWTH_MB:
        raise Exceeded(f"the memory grew by {growth_mb:.0f} MB (limit {GROWTH_MB})")


def limit_memory() -> None:
    """Limit the memory of this process."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_MB * 2**20, hard))


def _on_timeout(number: int, frame: FrameType | None) -> None:
    kind = "processor time" if number == signal.SIGPROF else "time"
    raise Exceeded(f"a hang: too much {kind} for an input of its size")


def _forget_peak() -> int:
    """Set the peak of the memory back to what is used now, and return it in kB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak_kb()


def _peak_kb() -> int:
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:
        # Without Linux the peak of the whole process counts, which grows once.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition(b"VmHWM:")[2].split(None, 1)[0])
