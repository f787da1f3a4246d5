"""The parent's handle on the zygote: the process that forks the others."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass

from worker.core.outcome import OUT_OF_MEMORY, StepError
from worker.errors import WorkerError
from worker.sandbox.limits import Limits, timed_out
from worker.sandbox.protocol import EXIT_OUT_OF_MEMORY

Bundles = tuple[tuple[str, str], ...]
"""Adaptors by name and version, each with the file of its bundle."""


class ZygoteError(WorkerError):
    """the process that forks runs is gone"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessExit:
    """How a run's process ended: its exit code (negative: the signal) and peak memory in bytes."""

    code: int
    peak: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedProcess:
    """A process that was forked: what it is killed by, the channel to it, and its end."""

    name: str
    channel: socket.socket
    ended: asyncio.Future[ProcessExit]


class ZygoteClient:
    """A handle on one zygote process, with the bundles of adaptors that its runs find loaded. It
    boots while its owner does other things."""

    def __init__(self, bundles: Bundles = ()) -> None:
        self._control, theirs = socket.socketpair()
        loaded = json.dumps(bundles)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "worker.sandbox.zygote", str(theirs.fileno()), loaded],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._names = itertools.count()
        self._broken = False
        self._ended: dict[str, asyncio.Future[ProcessExit]] = {}
        self._booting: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait until the process can fork. Raises :class:`ZygoteError` where it cannot."""
        if self._booting is None:
            self._booting = asyncio.create_task(self._boot())
        # Whoever waits here may be cancelled; others go on waiting for the same process.
        await asyncio.shield(self._booting)

    async def _boot(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(sock=self._control)
        if await self._reader.readline() != b"ready\n":
            raise ZygoteError("the process that forks runs did not start")
        self._listener = asyncio.create_task(self._listen())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> bool:
        return self._broken or (self._listener is not None and self._listener.done())

    @property
    def idle(self) -> bool:
        return not self._ended

    @property
    def listening(self) -> bool:
        return self._listener is not None and not self._listener.done()

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            async for line in self._reader:
                self._hear(*line.decode().split())
        while self._ended:
            _, future = self._ended.popitem()
            if not future.done():
                future.set_exception(ZygoteError())

    def _hear(self, word: str, name: str, *values: str) -> None:
        future = self._ended.pop(name, None) if word == "ended" else None
        if future is not None and not future.done():
            code, peak = map(int, values)
            scale = 1 if sys.platform == "darwin" else 1024
            future.set_result(ProcessExit(code=code, peak=peak * scale))

    def fork(self) -> ForkedProcess:
        """Have a process forked."""
        if not self.listening:
            raise ZygoteError
        ours, theirs = socket.socketpair()
        name = str(next(self._names))
        future = self._ended[name] = asyncio.get_running_loop().create_future()
        with theirs:
            # The transport may be buffering: descriptors go beside it, on the same socket.
            try:
                socket.send_fds(self._control, [f"run {name}\n".encode()], [theirs.fileno()])
            except OSError as error:
                ours.close()
                del self._ended[name]
                self._broken = True
                raise ZygoteError from error
        return ForkedProcess(name=name, channel=ours, ended=future)

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process, if it still runs."""
        if name in self._ended:
            self._writer.write(f"kill {name}\n".encode())

    async def close(self) -> None:
        """End the zygote, and with it everything that it forked."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._booting is None:
            self._control.close()
            return
        await asyncio.gather(self._booting, return_exceptions=True)
        if self._listener is not None:
            await self._listener
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def died_of(ended: ProcessExit, limits: Limits) -> StepError:
    """Why a process ended without completing its run, when nobody here killed it."""
    if ended.code == EXIT_OUT_OF_MEMORY:
        return OUT_OF_MEMORY
    if ended.code == -signal.SIGKILL and ended.peak > limits.memory * 0.9:
        return StepError(type="OomError", message="the system killed the run for its memory")
    if ended.code == -signal.SIGALRM:
        return timed_out(limits)
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        return StepError(type="ProcessError", message=f"the run's process was killed by {name}")
    return StepError(type="ProcessError", message=f"the run's process ended with {ended.code}")
