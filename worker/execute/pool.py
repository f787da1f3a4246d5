"""The parent's side of execution: a pool that has the zygote fork a process for every run.

The parent owns the clock, cancellation and the last word. It turns the frames of a run's process
into events, and when that process goes without having completed the run, it completes the open
step and the run from what it saw. So every run ends in exactly one ``run:complete``, and last.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from worker.errors import WorkerError
from worker.execute.limits import Limits
from worker.execute.protocol import EXIT_OUT_OF_MEMORY, Frames, ProtocolError, Request
from worker.walk.closing import Tail
from worker.walk.events import AnyEvent, RunComplete, RunStart
from worker.walk.outcome import OUT_OF_MEMORY, StepError

BOOT_SECONDS = 30.0
_READ_BYTES = 1 << 18


class ZygoteError(WorkerError):
    """The process that forks runs could not be started, or is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run's process ended: its exit code (negative: the signal) and peak memory in bytes."""

    code: int
    peak: int


class Zygote:
    """A handle on one zygote process, for one event loop."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Future[Ended]] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process and wait until it is ready to fork."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-m", "worker.execute.zygote", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._control = ours
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        if await self._reader.readline() != b"ready\n":
            raise ZygoteError("the process that forks runs did not start")
        self._listener = asyncio.create_task(self._listen())

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and not self._listener.done()

    async def _listen(self) -> None:
        async for line in self._reader:
            word, run_id, *values = line.decode().split()
            if word == "ended" and (future := self._ended.pop(run_id, None)):
                code, peak = map(int, values)
                scale = 1 if sys.platform == "darwin" else 1024
                future.set_result(Ended(code=code, peak=peak * scale))
        for future in self._ended.values():
            future.set_exception(ZygoteError("the process that forks runs is gone"))

    def fork(self, run_id: str) -> tuple[socket.socket, asyncio.Future[Ended]]:
        """Have a process forked; returns the channel to it and the future of its end."""
        if not self.alive:
            raise ZygoteError("the process that forks runs is gone")
        ours, theirs = socket.socketpair()
        future = self._ended[run_id] = asyncio.get_running_loop().create_future()
        with theirs:
            # The transport may be buffering: descriptors go beside it, on the same socket.
            socket.send_fds(self._control, [f"run {run_id}\n".encode()], [theirs.fileno()])
        return ours, future

    def kill(self, run_id: str) -> None:
        """Send SIGKILL to a run's process, if it still runs."""
        if run_id in self._ended:
            self._writer.write(f"kill {run_id}\n".encode())

    async def close(self) -> None:
        """End the zygote, and with it everything that it forked."""
        if self._process is None:
            return
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        await self._process.wait()
        await self._listener
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Processes:
    """Executes requests, at most ``size`` at a time, each in a process of its own."""

    def __init__(self, size: int = 2) -> None:
        if size < 1:
            raise ValueError(f"a pool needs room for a run, not {size}")
        self._slots = asyncio.Semaphore(size)
        self._zygote = Zygote()
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def zygote_pid(self) -> int:
        return self._zygote.pid

    async def close(self) -> None:
        """Kill what still runs, and end the zygote."""
        await self._zygote.close()

    async def _ready(self) -> Zygote:
        """The zygote, started anew if it has died."""
        async with self._starting:
            if not self._zygote.alive:
                await self._zygote.close()
                self._zygote = Zygote()
                await self._zygote.start()
        return self._zygote

    async def execute(
        self,
        request: Request,
        receive: Callable[[AnyEvent], None],
        cancel: asyncio.Event | None = None,
    ) -> None:
        """Run a request to its end; every event goes to ``receive``, in order.

        Setting ``cancel``, or cancelling the task, kills the process; the run is then completed
        as cancelled.
        """
        if cancel is not None and cancel.is_set():
            return _cancelled_before_start(request, receive)
        async with self._slots:
            execution = Execution(await self._ready(), request, receive)
            await execution.run(cancel)


def _cancelled_before_start(request: Request, receive: Callable[[AnyEvent], None]) -> None:
    for event in Tail(request.run_id).close(CANCELLED, now=_now()):
        receive(event)


CANCELLED = StepError(type="CancelledError", message="the run was cancelled")


class Execution:
    """One run while its process lives."""

    def __init__(
        self, zygote: Zygote, request: Request, receive: Callable[[AnyEvent], None]
    ) -> None:
        self._zygote = zygote
        self._request = request
        self._receive = receive
        self._tail = Tail(request.run_id)
        self._frames = Frames()
        self._loop = asyncio.get_running_loop()
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._cause: StepError | None = None
        self._clock: asyncio.TimerHandle | None = None

    async def run(self, cancel: asyncio.Event | None) -> None:
        self._channel, ended = self._zygote.fork(self._request.run_id)
        self._channel.setblocking(False)
        self._start_clock(
            BOOT_SECONDS, StepError(type="BootError", message="the run did not start")
        )
        watcher = self._loop.create_task(self._watch(cancel)) if cancel else None
        try:
            await self._converse()
            outcome = await ended
        except asyncio.CancelledError:
            self._kill(CANCELLED)
            outcome = await ended
            self._finish(outcome)
            raise
        except ZygoteError as error:
            self._cause = self._cause or StepError(type="ZygoteError", message=str(error))
            outcome = Ended(code=-signal.SIGKILL, peak=0)
        finally:
            self._stop(watcher)
        self._finish(outcome)

    def _stop(self, watcher: asyncio.Task[None] | None) -> None:
        self._stop_clock()
        self._loop.remove_reader(self._channel)
        self._channel.close()
        if watcher is not None:
            watcher.cancel()

    async def _watch(self, cancel: asyncio.Event) -> None:
        await cancel.wait()
        self._kill(CANCELLED)

    async def _converse(self) -> None:
        """Send the request, and take frames until the process closes the channel."""
        body = pickle.dumps(self._request, protocol=pickle.HIGHEST_PROTOCOL)
        self._loop.add_reader(self._channel, self._read)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._loop.sock_sendall(self._channel, struct.pack("<Q", len(body)) + body)
        await self._drained

    def _read(self) -> None:
        try:
            data = self._channel.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._end_of_frames()
            return
        try:
            for header, clip in self._frames.feed(data):
                self._take(self._tail.accept(header, clip))
        except (ProtocolError, ValueError) as error:
            self._kill(StepError(type="ProtocolError", message=f"the run's process: {error}"))
            self._end_of_frames()

    def _end_of_frames(self) -> None:
        self._loop.remove_reader(self._channel)
        if not self._drained.done():
            self._drained.set_result(None)

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, RunStart):
            self._start_clock(self._request.limits.timeout_s, timed_out(self._request.limits))
        elif isinstance(event, RunComplete):
            self._stop_clock()
        self._receive(event)

    def _start_clock(self, seconds: float, error: StepError) -> None:
        self._stop_clock()
        self._clock = self._loop.call_later(seconds, self._kill, error)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()

    def _kill(self, cause: StepError) -> None:
        self._cause = self._cause or cause
        self._zygote.kill(self._request.run_id)

    def _finish(self, ended: Ended) -> None:
        """Complete what the process did not complete, from how it ended."""
        error = self._cause or died_of(ended, self._request.limits)
        for event in self._tail.close(error, now=_now(), mem=ended.peak):
            self._receive(event)


def timed_out(limits: Limits) -> StepError:
    """The error of a run that took longer than it may."""
    text = f"the run took longer than its limit of {limits.timeout_s:g} s"
    return StepError(type="TimeoutError", message=text)


def died_of(ended: Ended, limits: Limits) -> StepError:
    """Why a process ended without completing its run, when nobody here killed it."""
    if ended.code == EXIT_OUT_OF_MEMORY:
        return OUT_OF_MEMORY
    if ended.code == -signal.SIGKILL and ended.peak > limits.memory * 0.9:
        return StepError(type="OomError", message="the system killed the run for its memory")
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        return StepError(type="ProcessError", message=f"the run's process was killed by {name}")
    return StepError(type="ProcessError", message=f"the run's process ended with {ended.code}")


def _now() -> int:
    return time.time_ns() // 1000
