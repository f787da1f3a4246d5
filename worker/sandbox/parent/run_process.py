"""Process of one run, as its parent sees it.

The parent owns the time limit, cancellation and the end of the run. It decodes the frames of the
process into events; when the process exits without having completed the run, it completes the open
step and the run from the events received so far. So every run ends in exactly one ``run:complete``,
and it comes last.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Protocol

from worker.core.events import AnyEvent, RunComplete, RunStart
from worker.core.outcome import StepError
from worker.sandbox.event_writer import size_of
from worker.sandbox.limits import timed_out, too_many_events
from worker.sandbox.parent.frames import CallFrame, Frame, Notice, RunFrames, protocol_error
from worker.sandbox.parent.host import Host, NoHost, TrafficExceeded
from worker.sandbox.parent.host_calls import TRAFFIC_EXCEEDED, HostCalls
from worker.sandbox.parent.zygote_client import (
    ForkedProcess,
    ProcessExit,
    ZygoteError,
    cause_of_exit,
    ignore_exit,
)
from worker.sandbox.protocol import (
    READ_BYTES,
    ProtocolError,
    RunRequest,
    encode_request,
)
from worker.util.machine_clock import now_us

BOOT_TIMEOUT_S = 30.0
WATCH_DELAY_S = 0.005
"""Time after which a run is watched. Most are over by then, and timers and tasks are not cheap."""
EXIT_TIMEOUT_S = 0.9
"""Time for which a process may live on after its run is complete."""

CANCELLED = StepError(type="CancelledError", message="the run was cancelled")
ZYGOTE_GONE = StepError(type="ZygoteError", message="the process that forks runs is gone")
PROCESS_GONE = StepError(type="ProcessError", message="the run's process ended before the run")
_KILLED = ProcessExit(code=-signal.SIGKILL, peak_bytes=0)
_BOOT_FAILED = StepError(type="BootError", message="the run did not start")


class RequestUnreadError(Exception):
    """The process ended before it had read the request, so no step of the run was executed."""


class Processes(Protocol):
    """Starter of the process of a run, which kills it by its name."""

    def fork(self) -> ForkedProcess: ...

    def kill(self, name: str) -> None: ...


class RunProcess:
    """One run while its process lives."""

    grace_s = 0.0
    """Time after the time limit within which the process may end the run by itself."""

    def __init__(
        self,
        zygote: Processes,
        request: RunRequest,
        receive: Callable[[AnyEvent], None],
        host: Host | None,
    ) -> None:
        self._zygote = zygote
        self._request = request
        self._receive = receive
        self._host = host or NoHost()
        self._host_calls: HostCalls | None = None
        self._frames = RunFrames(request)
        self._stream = self._frames.stream
        self._loop = asyncio.get_running_loop()
        self._drained: asyncio.Future[None] = self._loop.create_future()
        self._cause: StepError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_limited = False
        self._watcher: asyncio.Task[None] | None = None
        self._stopped: ProcessExit | None = None
        self._is_unread = False
        self._event_bytes = 0

    async def run(self, cancel: asyncio.Event | None) -> None:
        """Execute to the end.

        Raises :class:`ZygoteError` if no event of the run was received, and
        :class:`RequestUnreadError` if the process ended before it could begin.
        """
        self._forked = self._zygote.fork()
        self._channel, exited = self._forked.channel, self._forked.exited
        # Also where a receiver of events raises, and nobody waits for the exit.
        exited.add_done_callback(ignore_exit)
        # As a number: asyncio formats what it does not know yet, and the text of a socket is slow.
        self._descriptor = self._channel.fileno()
        self._channel.setblocking(False)
        watch = self._loop.call_later(WATCH_DELAY_S, self._start_watch, cancel)
        try:
            await self._exchange_frames()
            if self._stream.completed:
                return self._leave_process(exited)
            if self._is_unread and self._cause is None and not self._stream.started:
                raise RequestUnreadError
            process_exit = self._stopped or await exited
        except asyncio.CancelledError:
            self._kill(CANCELLED)
            try:
                process_exit = await exited
            except ZygoteError:
                # If this were raised, the pool would start the cancelled run in another zygote.
                process_exit = _KILLED
            self._complete(process_exit)
            raise
        except ZygoteError:
            if not self._stream.started:
                raise
            # Steps may have run already. Another zygote would run them a second time, so the run
            # ends here. Its process died with the zygote.
            self._cause = self._cause or ZYGOTE_GONE
            process_exit = _KILLED
        finally:
            watch.cancel()
            self._release()
        self._complete(process_exit)

    def _release(self) -> None:
        self._stop_timer()
        self._end_reading()
        self._release_channel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._host_calls is not None:
            self._host_calls.cancel()

    def _release_channel(self) -> None:
        self._channel.close()

    def _leave_process(self, exited: asyncio.Future[ProcessExit]) -> None:
        # The process has nothing left to do, and the next run need not wait for its exit. But code
        # of a job that goes on would do so without limits.
        timer = self._loop.call_later(EXIT_TIMEOUT_S, self._zygote.kill, self._forked.name)
        exited.add_done_callback(lambda _: timer.cancel())

    def _start_watch(self, cancel: asyncio.Event | None) -> None:
        """Start to watch for cancellation, and for a process that does not begin."""
        if not self._is_limited:
            self._start_timer(BOOT_TIMEOUT_S, _BOOT_FAILED)
        if cancel is not None:
            self._watcher = self._loop.create_task(self._watch(cancel))

    async def _watch(self, cancel: asyncio.Event) -> None:
        await cancel.wait()
        self._kill(CANCELLED)

    async def _exchange_frames(self) -> None:
        """Send the request, and receive frames until the process closes the channel."""
        # Reading starts first: a process that fails early must not leave a large request blocked.
        self._start_reading()
        try:
            await self._send(self._encode_request())
        except (BrokenPipeError, ConnectionResetError):
            self._is_unread = True
        await self._drained

    def _start_reading(self) -> None:
        self._loop.add_reader(self._descriptor, self._read)

    def _end_reading(self) -> None:
        self._loop.remove_reader(self._descriptor)

    async def _send(self, data: bytes) -> None:
        # Most frames fit into the channel at once, which needs no help of the event loop.
        try:
            sent = self._channel.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            await self._loop.sock_sendall(self._channel, memoryview(data)[sent:])

    def _encode_request(self) -> bytes:
        return encode_request(self._request)

    def _read(self) -> None:
        try:
            data = self._channel.recv(READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            # Linux resets a channel whose other end was closed with bytes unread. Before the first
            # event these are the end of the request.
            self._is_unread = True
            data = b""
        if not data:
            self._stop_reading()
            return
        self._event_bytes += len(data)
        try:
            for frame, body in self._frames.feed(data):
                self._handle_frame(frame, body)
            self._check_event_bytes()
        except ProtocolError as error:
            self._break_off(protocol_error(error))
        except TrafficExceeded:
            self._break_off(TRAFFIC_EXCEEDED)
        except Exception as error:
            # Raised by ``receive``: it belongs to the caller who awaits the run.
            self._kill(CANCELLED)
            if not self._drained.done():
                self._drained.set_exception(error)
        # Only now, as the events of a short run come all at once, and it needs no timer.
        if self._stream.started and not (self._is_limited or self._drained.done()):
            limits, self._is_limited = self._request.limits, True
            self._start_timer(limits.timeout_s + self.grace_s, timed_out(limits))

    # Here and not in the run's process: whoever holds the events decides how many they are.
    def _check_event_bytes(self) -> None:
        limits = self._request.limits
        if self._event_bytes > limits.events_bytes and not self._stream.completed:
            self._break_off(too_many_events(limits))

    def _break_off(self, cause: StepError) -> None:
        self._kill(cause)
        # What is in the channel still could complete the run.
        self._stop_reading()

    def _handle_frame(self, frame: Frame, body: str) -> None:
        if not isinstance(frame, Notice):
            self._handle_event(frame)
        elif isinstance(frame, CallFrame):
            self._handle_call(frame, body)
        else:
            self._handle_notice(frame)

    def _handle_notice(self, notice: Notice) -> None:
        """Handle what only a runner sends."""
        raise ProtocolError(f"{type(notice).__name__} from the process of one run")

    def _handle_call(self, frame: CallFrame, text: str) -> None:
        if self._host_calls is None:
            self._host_calls = HostCalls(self._request, self._host, self._send, self._kill)
        self._event_bytes -= size_of(text)
        self._host_calls.start(frame, text)

    def _handle_event(self, event: AnyEvent) -> None:
        if type(event) is RunStart:
            self._begin()
        self._receive(event)
        if type(event) is RunComplete:
            self._stop_reading()

    def _begin(self) -> None:
        """Take note that the run has started."""

    def _stop_reading(self) -> None:
        self._end_reading()
        if not self._drained.done():
            self._drained.set_result(None)

    def _start_timer(self, seconds: float, error: StepError) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, self._kill, error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _kill(self, cause: StepError) -> None:
        # The first cause counts: later ones are consequences of the kill.
        self._cause = self._cause or cause
        self._zygote.kill(self._forked.name)

    def _complete(self, process_exit: ProcessExit) -> None:
        """Complete the open step and the run, unless the process has completed them."""
        error = self._cause or cause_of_exit(process_exit, self._request.limits)
        memory_bytes = process_exit.peak_bytes
        for event in self._stream.complete(error, now_us=now_us(), memory_bytes=memory_bytes):
            self._receive(event)
