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
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from worker.errors import WorkerError
from worker.execute.limits import Limits, timed_out
from worker.execute.protocol import EXIT_OUT_OF_MEMORY, Frames, ProtocolError, Request
from worker.walk.closing import Tail
from worker.walk.events import AnyEvent, RunComplete, RunStart
from worker.walk.outcome import OUT_OF_MEMORY, StepError

BOOT_SECONDS = 30.0
_READ_BYTES = 1 << 18


class ZygoteError(WorkerError):
    """the process that forks runs is gone"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run's process ended: its exit code (negative: the signal) and peak memory in bytes."""

    code: int
    peak: int


class Zygote:
    """A handle on one zygote process. It boots while its owner does other things."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-m", "worker.execute.zygote", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._ended: dict[str, asyncio.Future[Ended]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Wait until the process can fork. Raises :class:`ZygoteError` where it cannot."""
        self._reader, self._writer = await asyncio.open_connection(sock=self._control)
        if await self._reader.readline() != b"ready\n":
            raise ZygoteError("the process that forks runs did not start")
        self._listener = asyncio.create_task(self._listen())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def gone(self) -> bool:
        return self._listener is not None and self._listener.done()

    @property
    def listening(self) -> bool:
        return self._listener is not None and not self._listener.done()

    async def _listen(self) -> None:
        with contextlib.suppress(ConnectionError):
            async for line in self._reader:
                self._hear(*line.decode().split())
        for future in self._ended.values():
            if not future.done():
                future.set_exception(ZygoteError())

    def _hear(self, word: str, run_id: str, *values: str) -> None:
        future = self._ended.pop(run_id, None) if word == "ended" else None
        if future is not None and not future.done():
            code, peak = map(int, values)
            scale = 1 if sys.platform == "darwin" else 1024
            future.set_result(Ended(code=code, peak=peak * scale))

    def fork(self, run_id: str) -> tuple[socket.socket, asyncio.Future[Ended]]:
        """Have a process forked; returns the channel to it and the future of its end."""
        if not self.listening:
            raise ZygoteError
        ours, theirs = socket.socketpair()
        future = self._ended[run_id] = asyncio.get_running_loop().create_future()
        with theirs:
            # The transport may be buffering: descriptors go beside it, on the same socket.
            try:
                socket.send_fds(self._control, [f"run {run_id}\n".encode()], [theirs.fileno()])
            except OSError as error:
                ours.close()
                del self._ended[run_id]
                raise ZygoteError from error
        return ours, future

    def kill(self, run_id: str) -> None:
        """Send SIGKILL to a run's process, if it still runs."""
        if run_id in self._ended:
            self._writer.write(f"kill {run_id}\n".encode())

    async def close(self) -> None:
        """End the zygote, and with it everything that it forked."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._listener is None:
            self._control.close()
            return
        await self._listener
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class Processes:
    """Executes requests, at most ``size`` at a time, each in a process of its own."""

    def __init__(self, size: int = 2) -> None:
        if size < 1:
            raise ValueError(f"a pool needs room for a run, not {size}")
        self._slots = asyncio.Semaphore(size)
        self._starting = asyncio.Lock()
        self._zygote: Zygote | None = None

    def boot(self) -> None:
        """Start the zygote without waiting for it."""
        if self._zygote is None:
            self._zygote = Zygote()

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self.close()

    @property
    def zygote_pid(self) -> int:
        assert self._zygote is not None
        return self._zygote.pid

    async def close(self) -> None:
        """Kill what still runs, and end the zygote."""
        if self._zygote is not None:
            await self._zygote.close()
            self._zygote = None

    async def _discard(self, zygote: Zygote) -> None:
        if zygote is self._zygote:
            await self.close()

    async def _ready(self) -> Zygote:
        """The zygote, started anew if it has died."""
        async with self._starting:
            if self._zygote is not None and self._zygote.gone:
                await self._discard(self._zygote)
            self.boot()
            assert self._zygote is not None
            if not self._zygote.listening:
                await self._zygote.ready()
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
            return complete(request, CANCELLED, receive)
        async with self._slots:
            for _ in range(2):
                zygote = await self._ready()
                try:
                    return await Execution(zygote, request, receive).run(cancel)
                except ZygoteError:
                    # Nothing of the run was seen, so it can be given to a new zygote.
                    await self._discard(zygote)
        return complete(request, ZYGOTE_GONE, receive)


def complete(request: Request, error: StepError, receive: Callable[[AnyEvent], None]) -> None:
    """Complete a run that never started."""
    for event in Tail(request.run_id).close(error, now=_now()):
        receive(event)


CANCELLED = StepError(type="CancelledError", message="the run was cancelled")
ZYGOTE_GONE = StepError(type="ZygoteError", message="the process that forks runs is gone")


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
        """Execute to the end. Raises :class:`ZygoteError` where the run has not even started."""
        self._channel, ended = self._zygote.fork(self._request.run_id)
        self._channel.setblocking(False)
        self._start_clock(
            BOOT_SECONDS, StepError(type="BootError", message="the run did not start")
        )
        watcher = self._loop.create_task(self._watch(cancel)) if cancel else None
        try:
            await self._converse()
            if self._tail.completed:
                return ended.add_done_callback(_heed)
            outcome = await ended
        except asyncio.CancelledError:
            self._kill(CANCELLED)
            outcome = await ended
            self._finish(outcome)
            raise
        except ZygoteError:
            if not self._tail.begun:
                raise
            self._cause = self._cause or ZYGOTE_GONE
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
        except Exception as error:
            # A receiver's own: it belongs to whoever awaits the run.
            self._kill(CANCELLED)
            self._drained.set_exception(error)

    def _end_of_frames(self) -> None:
        self._loop.remove_reader(self._channel)
        if not self._drained.done():
            self._drained.set_result(None)

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, RunStart):
            self._start_clock(self._request.limits.timeout_s, timed_out(self._request.limits))
        self._receive(event)
        if isinstance(event, RunComplete):
            self._end_of_frames()

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


def _heed(ended: asyncio.Future[Ended]) -> None:
    """How a process ends that has completed its run is of no interest, not even as an error."""
    ended.cancelled() or ended.exception()


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
