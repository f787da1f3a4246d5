"""Start of the usual zygote and of its first runner before anything else of a command."""

from __future__ import annotations

import os
import socket

from worker.sandbox import child_process

# Imported before anything else of a command: each import here delays the zygote.

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess

ZYGOTE = "worker.sandbox.child.zygote_process"
USUAL_CONTENTS = ""
"""The realm of most runs, with neither installed adaptors nor locale data, as an argument."""
RUNNER = "ahead"
"""Name of the first runner."""

_started: list[tuple[subprocess.Popen[bytes], socket.socket, socket.socket]] = []
# They are the parent's: a fork starts its own.
os.register_at_fork(after_in_child=_started.clear)


def start_ahead() -> None:
    """Start the usual zygote, and have it fork a runner as soon as it is ready."""
    process, control = child_process.start(ZYGOTE, USUAL_CONTENTS)
    _started.append((process, control, request_process(control, "runner", RUNNER)))


def take_started() -> tuple[subprocess.Popen[bytes], socket.socket, socket.socket | None] | None:
    """Return the process that was started, its control socket and the channel of its runner."""
    return _started.pop() if _started else None


def request_process(control: socket.socket, kind: str, name: str) -> socket.socket:
    """Request a process of a zygote, by a name of its own; return the channel to it.

    A ``runner`` serves the channel at once, and a ``run`` reads a request from it first.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            socket.send_fds(control, [f"{kind} {name}\n".encode()], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
    return ours
