"""Check of the limit of open files before processes are started."""

from __future__ import annotations

import resource

from worker.errors import MachineError

# A process of Python with its streams, sockets and database, and one channel to each run.
MIN_OPEN_FILES = 32


def check_open_files() -> None:
    """Raise :class:`MachineError` where this process may open too few files to run anything."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < MIN_OPEN_FILES:
        raise MachineError(
            f"the limit of open files is {soft}, expected at least {MIN_OPEN_FILES} "
            "(ulimit -n 1024 sets it)"
        )
