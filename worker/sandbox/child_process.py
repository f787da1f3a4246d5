"""Child processes of the worker, which may start before the modules that use them are imported."""

from __future__ import annotations

import socket
import subprocess
import sys

# Imported before anything else of a command: each import here delays the child.

_ahead: dict[tuple[str, ...], tuple[subprocess.Popen[bytes], socket.socket]] = {}

ZYGOTE = ("worker.sandbox.child.zygote", "[[], []]")
"""The zygote of most runs, whose realm has neither installed adaptors nor locale data."""


def start_ahead(module: str, *arguments: str) -> None:
    """Start a module now for a caller of :func:`start` with the same arguments."""
    _ahead[module, *arguments] = _start(module, *arguments)


def start(module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a module of Python in a process of its own; return it and our end of a socket.

    Its first argument is the descriptor of its end, ``arguments`` follow.
    """
    return _ahead.pop((module, *arguments), None) or _start(module, *arguments)


def _start(module: str, *arguments: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", module, str(theirs.fileno()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # Ctrl-C in a terminal reaches the parent alone, which then cancels its runs.
            start_new_session=True,
        )
    return process, ours
