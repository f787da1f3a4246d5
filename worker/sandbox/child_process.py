"""Child processes of the worker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import weakref

from worker.util.cache_folder import root_path

# Imported before anything else of a command: each import here delays the child.

_PASSED_ON = ("LD_LIBRARY_PATH", "WORKER_RUN_AS")
_channels: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_channels() -> None:
    for channel in list(_channels):
        channel.close()


# A copy of a channel in a fork of this process would keep the child alive after both of us.
os.register_at_fork(after_in_child=_close_channels)


def start(module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a module of Python in a process of its own; return it and our end of a socket.

    Its first argument is the descriptor of its end, ``arguments`` and the cache folder follow.
    """
    ours, theirs = socket.socketpair()
    _channels.add(ours)
    command = [sys.executable, "-I", "-X", "utf8", "-m", module]
    cache = os.path.abspath(root_path())  # noqa: PTH100 (no pathlib: see above)
    with theirs:
        process = subprocess.Popen(
            [*command, str(theirs.fileno()), *arguments, cache],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # Ctrl-C in a terminal reaches the parent alone, which then cancels its runs.
            start_new_session=True,
        )
    return process, ours


def _environment() -> dict[str, str]:
    # Tokens and passwords in the environment stay readable under /proc, whatever the process does
    # later. An interpreter that needs the first of these does not start without it.
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
