"""Client of the zygote, the process that forks run processes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket

from msgspec import Struct

from worker.core.outcome import OUT_OF_MEMORY, StepError
from worker.errors import WorkerError
from worker.sandbox import child_process
from worker.sandbox.limits import Limits, timed_out
from worker.sandbox.memory import maxrss_bytes
from worker.sandbox.parent.zygote_ahead import (
    RUNNER,
    USUAL_CONTENTS,
    ZYGOTE,
    request_process,
    take_started,
)
from worker.sandbox.protocol import (
    EXIT_OUT_OF_MEMORY,
    USUAL_REALM,
    RealmContents,
)

READY_TIMEOUT_S = 120.0
"""Time for the start, in which the machine code may have to be made."""

_STOP_TIMEOUT_S = 1.0


FORBIDDEN_CALL = StepError(
    type="SecurityError", message="the run made a system call that is not allowed"
)


class ZygoteError(WorkerError):
    """the process that forks runs is gone"""


class BundleError(ZygoteError):
    """an adaptor's bundle does not load"""


class ProcessExit(Struct, frozen=True, kw_only=True):
    """Exit code of a process (negative: the signal) and its peak memory."""

    code: int
    peak_bytes: int


class ForkedProcess(Struct, frozen=True, kw_only=True):
    """A forked process: the name to kill it by, the channel to it, and its exit."""

    name: str
    channel: socket.socket
    exited: asyncio.Future[ProcessExit]


def ignore_exit(exited: asyncio.Future[ProcessExit]) -> None:
    """Mark the result of a future as retrieved, or asyncio logs its exception."""
    exited.cancelled() or exited.exception()


class ZygoteClient:
    """Starts one zygote process with a realm loaded, and has it fork and kill.

    The process boots in the background; :meth:`ready` waits for it.
    """

    def __init__(self, realm: RealmContents = USUAL_REALM) -> None:
        ahead = take_started() if realm == USUAL_REALM else None
        contents = USUAL_CONTENTS if realm == USUAL_REALM else json.dumps(realm)
        self._process, self._control, self._runner_channel = ahead or (
            *child_process.start(ZYGOTE, contents),
            None,
        )
        self._runner: ForkedProcess | None = None
        self._names = itertools.count()
        self._broken = False
        self._exits: dict[str, asyncio.Future[ProcessExit]] = {}
        self._booting: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait until the process can fork. Raises :class:`ZygoteError` where it did not start."""
        if self._booting is None:
            self._booting = asyncio.create_task(self._boot())
        # A caller who waits here may be cancelled; others wait for the same process.
        await asyncio.shield(self._booting)

    async def _boot(self) -> None:
        if self._runner_channel is not None:
            # Before its exit can be reported.
            self._runner = self._forked(RUNNER, self._runner_channel)
            self._runner.exited.add_done_callback(ignore_exit)
        self._reader, self._writer = await asyncio.open_connection(sock=self._control)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                notice = (await self._reader.readline()).decode()
        except (TimeoutError, ConnectionError):
            notice = ""
        if notice != "ready\n":
            self._broken = True
            raise await self._boot_error(notice)
        self._listener = asyncio.create_task(self._listen())

    async def _boot_error(self, notice: str) -> ZygoteError:
        kind, _, reason = notice.partition(" ")
        if kind == "failed":
            return BundleError(f"the adaptor could not be loaded: {json.loads(reason)}")
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        return ZygoteError("the process that forks runs did not start")

    @property
    def pid(self) -> int:
        """Process id of the zygote."""
        return self._process.pid

    @property
    def gone(self) -> bool:
        """True once the zygote cannot fork any more."""
        return self._broken or (self._listener is not None and self._listener.done())

    @property
    def forked(self) -> int:
        """The number of forked processes."""
        return len(self._exits)

    @property
    def listening(self) -> bool:
        """True while the zygote can fork."""
        return self._listener is not None and not self._listener.done()

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            async for line in self._reader:
                self._handle_notice(*line.decode().split())
        while self._exits:
            _, future = self._exits.popitem()
            if not future.done():
                future.set_exception(ZygoteError())

    def _handle_notice(self, kind: str, name: str, *values: str) -> None:
        future = self._exits.pop(name, None) if kind == "ended" else None
        if future is not None and not future.done():
            code, ru_maxrss = map(int, values)
            future.set_result(ProcessExit(code=code, peak_bytes=maxrss_bytes(ru_maxrss)))

    def fork(self) -> ForkedProcess:
        """Request a process, which reads what it is for from its channel.

        Raises :class:`ZygoteError` where the zygote is gone.
        """
        return self._request("run")

    def fork_runner(self) -> ForkedProcess:
        """Request a runner, or return the one that was started ahead of all requests.

        Raises :class:`ZygoteError` where the zygote is gone.
        """
        runner, self._runner = self._runner, None
        return runner or self._request("runner")

    def _request(self, kind: str) -> ForkedProcess:
        if not self.listening:
            raise ZygoteError
        name = str(next(self._names))
        # Descriptors cannot go through the asyncio transport, so they go beside it.
        try:
            channel = request_process(self._control, kind, name)
        except OSError as error:
            self._broken = True
            raise ZygoteError from error
        return self._forked(name, channel)

    def _forked(self, name: str, channel: socket.socket) -> ForkedProcess:
        exited = self._exits[name] = asyncio.get_running_loop().create_future()
        return ForkedProcess(name=name, channel=channel, exited=exited)

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process, if it still runs."""
        if name in self._exits:
            self._writer.write(f"kill {name}\n".encode())

    async def close(self) -> None:
        """Stop the zygote, and with it all processes that it forked."""
        if not self.listening:
            # Inside a bundle that does not return, it would not see the end of its input.
            self._process.kill()
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        if self._booting is None:
            self._process.wait()
            self._control.close()
            if self._runner_channel is not None:
                self._runner_channel.close()
            return
        await asyncio.gather(self._booting, return_exceptions=True)
        if self._runner is not None:
            self._runner.channel.close()
        if self._listener is not None:
            # Its end of the socket closes as it exits. A wait with a timeout polls, and sleeps for
            # longer than that takes.
            _, pending = await asyncio.wait([self._listener], timeout=_STOP_TIMEOUT_S)
            if pending:
                self._process.kill()
                await self._listener
        self._process.wait()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def cause_of_exit(exit: ProcessExit, limits: Limits) -> StepError:
    """Return the error of a process that ended by itself before its run was complete."""
    if exit.code == EXIT_OUT_OF_MEMORY:
        return OUT_OF_MEMORY
    # The kernel's OOM killer leaves no trace but SIGKILL; the peak separates it from other kills.
    if exit.code == -signal.SIGKILL and exit.peak_bytes > limits.memory_bytes * 0.9:
        return StepError(type="OomError", message="the system killed the run for its memory")
    if exit.code in (-signal.SIGALRM, -signal.SIGPROF):
        return timed_out(limits)
    if exit.code == -signal.SIGSYS:
        return FORBIDDEN_CALL
    if exit.code < 0:
        name = signal.Signals(-exit.code).name
        return StepError(type="ProcessError", message=f"the run's process was killed by {name}")
    return StepError(type="ProcessError", message=f"the run's process ended with {exit.code}")
