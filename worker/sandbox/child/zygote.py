"""Zygote: a small process without threads that has the engine loaded and forks all others.

It receives requests from its parent, one a line: ``run NAME`` and ``runner NAME`` with the channel
of the process attached as a file descriptor, and ``kill NAME``. It sends the notices ``ready``,
``started NAME PID`` and ``ended NAME STATUS RU_MAXRSS``, or ``failed REASON`` alone where a bundle
does not load. Only the zygote reaps its children, so a kill never reaches a process id that was
used again. When its parent goes, it kills its children and exits.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import select
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from worker.engine.failures import EngineFault, ScriptError
from worker.engine.image import Image
from worker.errors import UsageError
from worker.sandbox.child.condition_server import serve_conditions
from worker.sandbox.child.frame_receiver import FrameReceiver
from worker.sandbox.child.runner import serve_runs
from worker.sandbox.child.sandboxed_run import SandboxedRun
from worker.sandbox.child.warm_up import warm_up
from worker.sandbox.confinement import system
from worker.sandbox.confinement.call_rules import Profile
from worker.sandbox.confinement.process import Confinement, close_all_but
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.memory import JAVASCRIPT_SHARE, forbid_files, limit_addresses, limit_data
from worker.sandbox.protocol import (
    EXIT_OUT_OF_MEMORY,
    REQUEST_LENGTH,
    ConditionRequest,
    FrameSender,
    RealmContents,
    RunRequest,
)
from worker.sandbox.python.imports import import_ahead
from worker.sandbox.realms import can_keep_engine, is_engine_prepared, prepare_realm
from worker.sandbox.runner_user import become, runner_user
from worker.util.cache_folder import root
from worker.util.packed import prepare_decoders

MAX_REASON = 500
"""Characters of the error of a bundle that are reported."""


def main() -> None:
    """Serve the parent on the socket whose descriptor is the first argument.

    The second argument is the :class:`RealmContents` as JSON, or empty for the usual ones, and the
    third the user's cache folder.
    """
    # Not in the environment that this process is started with: it stays readable under /proc.
    os.environ["WORKER_CACHE"] = sys.argv[3]
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        user = runner_user()
    except UsageError:
        return  # the parent reports it
    harden()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    contents = RealmContents(*json.loads(sys.argv[2] or "[]"))
    if not is_engine_prepared(metered=contents.metered):
        print(f"preparing the engine: {_how_often()}, for some seconds", file=sys.stderr)
    try:
        image = prepare_realm(contents)
    except (ScriptError, EngineFault, OSError, ValueError) as error:
        if not contents.bundles:
            raise
        control.sendall(f"failed {json.dumps(str(error)[:MAX_REASON])}\n".encode())
        return
    # The instance of every run: a child inherits it, with the pages that only the image has.
    engine = Engine(image, metered=contents.metered)
    prepare_decoders()
    leave_world(user)
    # A collection in a child would write to every object's header, and copy the shared pages. None
    # here: it would take as long as a run, for the little garbage of the imports.
    gc.freeze()
    gc.enable()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Zygote(control, engine, image).serve()


def _how_often() -> str:
    if can_keep_engine():
        return "once on this machine"
    return f"at each start, as the cache {root()} cannot be written"


def harden() -> None:
    """Have the kernel end this process with its parent, and grant no privileges on exec."""
    if sys.platform == "linux":
        system.die_with_parent(signal.SIGKILL)
        system.forbid_privileges()


def leave_world(user: tuple[int, int] | None) -> None:
    """Leave the folder, the user, the environment and, where allowed, the parent's namespaces."""
    os.chdir("/")
    os.environ.clear()
    if user is not None:
        become(*user)
        if sys.platform == "linux":
            # Its own descriptors could not be listed otherwise.
            system.set_dumpable(True)
    if sys.platform == "linux":
        # Containers often forbid it. What counts is also forbidden to each child by itself.
        with contextlib.suppress(OSError):
            system.leave_namespaces()
        # A change of privileges has cleared it.
        system.die_with_parent(signal.SIGKILL)


def open_files() -> Iterator[int]:
    """Yield the descriptors of the engine's files: code and images."""
    for descriptor in sorted(int(path.name) for path in Path("/dev/fd").iterdir()):
        # One of them was that of the folder.
        with contextlib.suppress(OSError):
            state = os.fstat(descriptor)
            # Files of /proc, which are about this process and not its children, have no size.
            if descriptor > 2 and stat.S_ISREG(state.st_mode) and state.st_size:
                yield descriptor


class Zygote:
    """Forks, kills and reaps processes; knows each by its name alone."""

    def __init__(self, control: socket.socket, engine: Engine, image: Image) -> None:
        self._control = control
        self._engine = engine
        self._image = image
        self._files = tuple(open_files())
        self._confinement = Confinement()
        self._children: dict[int, str] = {}
        self._buffer = b""
        self._is_warm = False
        self._wake, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        self._wake_writer = wake_writer

    def serve(self) -> None:
        """Handle requests until the parent closes the control socket."""
        # The handler must exist, or SIGCHLD would be ignored and would not wake the select.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        self._notify("ready")
        control = self._control.fileno()
        while True:
            readable, _, _ = select.select([control, self._wake], [], [])
            # First, as the parent waits for the end, and the warm-up would come before it.
            if control in readable and not self._handle_requests():
                return self._kill_all()
            if self._wake in readable:
                os.read(self._wake, 4096)
                self._reap()
                self._warm_up()

    def _notify(self, *words: object) -> None:
        self._control.sendall((" ".join(map(str, words)) + "\n").encode())

    def _handle_requests(self) -> bool:
        """Handle the requests that have arrived; return False when the parent is gone."""
        data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 64)
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            request, name = line.decode().split(" ", 1)
            if request == "kill":
                self._kill(name)
            elif not descriptors:
                return False  # lost, as this process may open no more files; the parent reports it
            else:
                serve = self._serve_runs if request == "runner" else self._serve_request
                self._fork(name, descriptors.pop(0), serve)
        return True

    def _fork(self, name: str, descriptor: int, serve: Callable[[socket.socket], None]) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_child(descriptor, serve)
        os.close(descriptor)
        self._children[pid] = name
        self._notify("started", name, pid)

    def _become_child(self, descriptor: int, serve: Callable[[socket.socket], None]) -> None:
        """Release what belongs to the zygote, serve the channel, and exit."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # fork() clears the parent-death signal, so it is set again here.
            harden()
            close_all_but({descriptor, *self._files, *self._confinement.descriptors()})
            serve(socket.socket(fileno=descriptor))
            status = 0
        except MemoryError:
            status = EXIT_OUT_OF_MEMORY
        except (BrokenPipeError, ConnectionResetError):
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            # Not sys.exit: handlers and buffers of the zygote must not run in its child.
            os._exit(status)

    def _serve_runs(self, channel: socket.socket) -> None:
        forbid_files()
        metered = self._engine.runtime.code.metered
        serve_runs(channel, self._image, self._confinement, metered=metered)

    def _serve_request(self, channel: socket.socket) -> None:
        request = receive_request(channel)
        forbid_files()
        # Limits come after the request: reading it may need more than a run is allowed.
        if isinstance(request, ConditionRequest):
            limit_data(memory_of(request.request))
            self._confinement.confine(Profile.JAVASCRIPT)
            serve_conditions(request, self._engine, channel)
        else:
            import_ahead(request.jobs.values(), request.modules)
            limit_data(memory_of(request))
            limit_addresses(memory_of(request))
            self._confinement.confine(Profile.PYTHON)
            receiver, sender = FrameReceiver(channel), FrameSender(channel)
            SandboxedRun(request, self._engine, receiver, sender).run()

    def _kill(self, name: str) -> None:
        for pid, child in self._children.items():
            if child == name:
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        # One SIGCHLD may stand for several exits, so reap until none is left.
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if name := self._children.pop(pid, None):
                    self._notify("ended", name, os.waitstatus_to_exitcode(status), usage.ru_maxrss)

    def _warm_up(self) -> None:
        # After the first child has ended: at the start, the first run would wait for it, and that
        # may be the only one.
        if not self._is_warm:
            self._is_warm = True
            warm_up(self._engine, self._image)

    def _kill_all(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)


def memory_of(request: RunRequest) -> int:
    """Return how much memory the process of a run may use, in bytes."""
    # Python steps have the process's limit alone.
    has_python = any(isinstance(job, str) for job in request.jobs.values())
    return request.limits.memory_bytes * (1 if has_python else JAVASCRIPT_SHARE)


def receive_request(channel: socket.socket) -> RunRequest | ConditionRequest:
    """Receive what :func:`worker.sandbox.protocol.encode_request` encodes."""
    (length,) = REQUEST_LENGTH.unpack(_receive_exactly(channel, REQUEST_LENGTH.size))
    # The parent is trusted, and nothing but the parent writes before the request is read.
    request = pickle.loads(_receive_exactly(channel, length))  # noqa: S301
    assert isinstance(request, RunRequest | ConditionRequest)
    return request


def _receive_exactly(channel: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        count = channel.recv_into(view)
        if count == 0:
            raise ConnectionResetError("the parent closed the channel")
        view = view[count:]
    return data
