"""The zygote: a small process without threads that has everything loaded and forks once per run.

It reads orders from its parent, line by line: ``run ID`` with the run's channel attached as a
file descriptor, and ``kill ID``. It answers ``ready``, ``started ID PID`` and
``ended ID STATUS PEAK``. Only the zygote reaps its children, so a kill never meets a process id
that was used again. When its parent goes, it kills what runs and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import pickle
import select
import signal
import socket
import struct
import sys
from pathlib import Path

from worker.sandbox.child import run
from worker.sandbox.condition_server import serve
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.memory import confine
from worker.sandbox.protocol import EXIT_OUT_OF_MEMORY, ConditionRequest, RunRequest

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main() -> None:
    """Serve the parent on the socket whose descriptor is the first argument; the second one names
    the bundles of adaptors to load, as JSON pairs of name and file."""
    control = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    bundles = {name: Path(file).read_text("utf-8") for name, file in json.loads(sys.argv[2])}
    engine = Engine(bundles)
    gc.collect()
    gc.freeze()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Zygote(control, engine).serve()


class Zygote:
    """Forks, kills and reaps; knows runs by their ids alone."""

    def __init__(self, control: socket.socket, engine: Engine) -> None:
        self._control = control
        self._engine = engine
        self._runs: dict[int, str] = {}
        self._buffer = b""
        self._wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        self._wake_writer = wake_writer

    def serve(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        self._say("ready")
        control = self._control.fileno()
        while True:
            readable, _, _ = select.select([control, self._wake], [], [])
            if self._wake in readable:
                os.read(self._wake, 4096)
                self._reap()
            if control in readable and not self._obey():
                return self._end()

    def _say(self, *words: object) -> None:
        self._control.sendall((" ".join(map(str, words)) + "\n").encode())

    def _obey(self) -> bool:
        """Carry out the orders that have arrived; false when the parent is gone."""
        data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 64)
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            order, run_id = line.decode().split(" ", 1)
            if order == "run":
                self._fork(run_id, descriptors.pop(0))
            else:
                self._kill(run_id)
        return True

    def _fork(self, run_id: str, descriptor: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_run(descriptor)
        os.close(descriptor)
        self._runs[pid] = run_id
        self._say("started", run_id, pid)

    def _become_run(self, descriptor: int) -> None:
        """In the child: let go of the zygote, run, and never return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            die_with_parent()
            for inherited in (self._control.fileno(), self._wake, self._wake_writer):
                os.close(inherited)
            os.environ.clear()
            channel = socket.socket(fileno=descriptor)
            asked = receive(channel)
            if isinstance(asked, ConditionRequest):
                confine(asked.request.limits)
                serve(asked, self._engine, channel)
            else:
                confine(asked.limits)
                run(asked, self._engine, channel)
            status = 0
        except MemoryError:
            status = EXIT_OUT_OF_MEMORY
        except (BrokenPipeError, ConnectionResetError):
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _kill(self, run_id: str) -> None:
        for pid, known in self._runs.items():
            if known == run_id:
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if run_id := self._runs.pop(pid, None):
                    self._say("ended", run_id, os.waitstatus_to_exitcode(status), usage.ru_maxrss)

    def _end(self) -> None:
        for pid in self._runs:
            os.kill(pid, signal.SIGKILL)


def receive(channel: socket.socket) -> RunRequest | ConditionRequest:
    """What the parent sent: a length, then a pickle. The parent is trusted."""
    (length,) = struct.unpack("<Q", _exactly(channel, 8))
    request = pickle.loads(_exactly(channel, length))  # noqa: S301
    assert isinstance(request, RunRequest | ConditionRequest)
    return request


def _exactly(channel: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if count == 0:
            raise ConnectionResetError("the parent closed the channel")
        view = view[count:]
    return data


def die_with_parent() -> None:
    """On Linux: be killed when the parent process dies, and gain no privileges by executing."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


if __name__ == "__main__":
    main()
