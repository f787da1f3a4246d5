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
import struct
import time
from collections.abc import Callable
from typing import Any, Self

from worker.core.completion import EventStream
from worker.core.events import AnyEvent, RunComplete, RunStart
from worker.core.outcome import StepError
from worker.sandbox.condition_client import ConditionEvaluator
from worker.sandbox.host import Host, HostCall, NoHost
from worker.sandbox.limits import timed_out
from worker.sandbox.protocol import CALL, ConditionRequest, Frames, ProtocolError, RunRequest, frame
from worker.sandbox.zygote_client import Bundles, ProcessExit, ZygoteClient, ZygoteError, died_of

BOOT_SECONDS = 30.0
ZYGOTES = 4
"""How many are kept, each with other bundles; those at work are not counted out."""
CALLS = 1000
"""The most calls of a run that wait at one time."""
_CALL_FIELDS = ("number", "kind", "step", "execution", "now")
_READ_BYTES = 1 << 18


class ProcessPool:
    """Executes requests, at most ``size`` at a time, each in a process of its own."""

    def __init__(self, size: int = 2) -> None:
        if size < 1:
            raise ValueError(f"a pool needs room for a run, not {size}")
        self._slots = asyncio.Semaphore(size)
        self._starting = asyncio.Lock()
        self._zygotes: dict[Bundles, ZygoteClient] = {}

    def boot(self, bundles: Bundles = ()) -> ZygoteClient:
        """Start the zygote that has these bundles loaded, without waiting for it."""
        if bundles not in self._zygotes:
            self._zygotes[bundles] = ZygoteClient(bundles)
        return self._zygotes[bundles]

    async def __aenter__(self) -> Self:
        self.boot()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self.close()

    @property
    def zygote_pid(self) -> int:
        return self._zygotes[()].pid

    async def close(self) -> None:
        """Kill what still runs, and end the zygotes."""
        while self._zygotes:
            _, zygote = self._zygotes.popitem()
            await zygote.close()

    async def _discard(self, bundles: Bundles) -> None:
        zygote = self._zygotes.get(bundles)
        if zygote is not None and (zygote.gone or zygote.idle):
            del self._zygotes[bundles]
            await zygote.close()

    async def _ready(self, bundles: Bundles) -> ZygoteClient:
        """The zygote with these bundles, started anew if it has died."""
        async with self._starting:
            zygote = self._zygotes.get(bundles)
            if zygote is not None and zygote.gone:
                await self._discard(bundles)
            zygote = self.boot(bundles)
            if not zygote.listening:
                await zygote.ready()
            await self._make_room(bundles)
            return zygote

    async def _make_room(self, needed: Bundles) -> None:
        """Where there are many, let those go that were started first and have nothing to do."""
        for bundles, zygote in list(self._zygotes.items()):
            if len(self._zygotes) > ZYGOTES and bundles != needed and zygote.idle:
                await self._discard(bundles)

    async def execute(
        self,
        request: RunRequest,
        receive: Callable[[AnyEvent], None],
        cancel: asyncio.Event | None = None,
        host: Host | None = None,
    ) -> None:
        """Run a request to its end; every event goes to ``receive``, in order. ``host`` performs
        the calls of its adaptors.

        Setting ``cancel``, or cancelling the task, kills the process; the run is then completed
        as cancelled.
        """
        if cancel is not None and cancel.is_set():
            return complete(request, CANCELLED, receive)
        async with self._slots:
            for _ in range(2):
                try:
                    zygote = await self._ready(request.bundles)
                    return await RunProcess(zygote, request, receive, host).run(cancel)
                except ZygoteError:
                    # Nothing of the run was seen, so it can be given to a new zygote.
                    await self._discard(request.bundles)
        return complete(request, ZYGOTE_GONE, receive)

    async def judge(self, request: RunRequest) -> ConditionEvaluator:
        """A process that evaluates the conditions of a request's plan."""
        zygote = await self._ready(request.bundles)
        forked = zygote.fork()
        channel, ended = forked.channel, forked.ended
        channel.setblocking(False)
        loop = asyncio.get_running_loop()
        body = pickle.dumps(ConditionRequest(request=request), protocol=pickle.HIGHEST_PROTOCOL)
        await loop.sock_sendall(channel, struct.pack("<Q", len(body)) + body)

        async def end() -> StepError:
            try:
                return died_of(await ended, request.limits)
            except ZygoteError:
                return ZYGOTE_GONE

        ended.add_done_callback(_heed)
        return ConditionEvaluator(
            channel, lambda: asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        )


def complete(request: RunRequest, error: StepError, receive: Callable[[AnyEvent], None]) -> None:
    """Complete a run that never started."""
    for event in EventStream(request.run_id).close(error, now=_now()):
        receive(event)


CANCELLED = StepError(type="CancelledError", message="the run was cancelled")
ZYGOTE_GONE = StepError(type="ZygoteError", message="the process that forks runs is gone")


class RunProcess:
    """One run while its process lives."""

    def __init__(
        self,
        zygote: ZygoteClient,
        request: RunRequest,
        receive: Callable[[AnyEvent], None],
        host: Host | None,
    ) -> None:
        self._zygote = zygote
        self._request = request
        self._receive = receive
        self._host = host or NoHost()
        self._answering = asyncio.Lock()
        self._calls: set[asyncio.Task[None]] = set()
        self._tail = EventStream(request.run_id)
        self._frames = Frames()
        self._loop = asyncio.get_running_loop()
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._cause: StepError | None = None
        self._clock: asyncio.TimerHandle | None = None

    async def run(self, cancel: asyncio.Event | None) -> None:
        """Execute to the end. Raises :class:`ZygoteError` where the run has not even started."""
        self._forked = self._zygote.fork()
        self._channel, ended = self._forked.channel, self._forked.ended
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
            outcome = ProcessExit(code=-signal.SIGKILL, peak=0)
        finally:
            self._stop(watcher)
        self._finish(outcome)

    def _stop(self, watcher: asyncio.Task[None] | None) -> None:
        self._stop_clock()
        self._loop.remove_reader(self._channel)
        self._channel.close()
        for task in (watcher, *self._calls):
            if task is not None:
                task.cancel()

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
                if header.get("type") == CALL:
                    self._perform(header, clip or "")
                else:
                    self._take(self._tail.accept(header, clip))
        except (ProtocolError, ValueError) as error:
            self._kill(StepError(type="ProtocolError", message=f"the run's process: {error}"))
            self._end_of_frames()
        except Exception as error:
            # A receiver's own: it belongs to whoever awaits the run.
            self._kill(CANCELLED)
            self._drained.set_exception(error)

    def _perform(self, header: dict[str, Any], text: str) -> None:
        """Have the host answer a call, beside everything else."""
        try:
            call = HostCall(text=text, **{name: header[name] for name in _CALL_FIELDS})
        except KeyError as error:
            raise ProtocolError(f"a call without {error}") from error
        if len(self._calls) >= CALLS:
            text = f"more than {CALLS:,} requests wait for an answer"
            return self._kill(StepError(type="SecurityError", message=text))
        task = self._loop.create_task(self._answer(call))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _answer(self, call: HostCall) -> None:
        answer = await self._host.answer(call)
        header = {"number": call.number, "at": answer.at}
        async with self._answering:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await self._loop.sock_sendall(self._channel, frame(header, answer.text))

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
        self._zygote.kill(self._forked.name)

    def _finish(self, ended: ProcessExit) -> None:
        """Complete what the process did not complete, from how it ended."""
        error = self._cause or died_of(ended, self._request.limits)
        for event in self._tail.close(error, now=_now(), mem=ended.peak):
            self._receive(event)


def _heed(ended: asyncio.Future[ProcessExit]) -> None:
    """How a process ends that has completed its run is of no interest, not even as an error."""
    ended.cancelled() or ended.exception()


def _now() -> int:
    return time.time_ns() // 1000
