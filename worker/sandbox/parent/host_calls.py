"""Calls of one run's adaptors: each is performed by the run's host, and its reply sent back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from worker.core.outcome import StepError
from worker.sandbox.parent.frames import CallFrame
from worker.sandbox.parent.host import (
    CallTraffic,
    Host,
    HostCall,
    HostReply,
    RunTraffic,
    TrafficExceeded,
    off_loop,
)
from worker.sandbox.protocol import RunRequest, encode_frame

MAX_PENDING_CALLS = 1000
"""Host calls of one run that may wait for a reply at one time."""

TRAFFIC_EXCEEDED = StepError(
    type="OomError", message="requests and replies in flight are over the run's memory limit"
)


class HostCalls:
    """Performs the calls of one run. ``send`` sends a frame; ``kill`` ends the run."""

    def __init__(
        self,
        request: RunRequest,
        host: Host,
        send: Callable[[bytes], Awaitable[None]],
        kill: Callable[[StepError], None],
    ) -> None:
        self._configurations = request.configurations
        self._traffic = RunTraffic(request.limits.memory_bytes)
        self._host, self._send, self._kill = host, send, kill
        self._replying = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_replying(self) -> bool:
        """True while a reply is being sent."""
        return self._replying.locked()

    def start(self, frame: CallFrame, text: str) -> None:
        """Start to perform a call."""
        # Without a bound, a job could fill the parent's memory with calls that nobody awaits.
        if len(self._tasks) >= MAX_PENDING_CALLS:
            text = f"more than {MAX_PENDING_CALLS:,} requests wait for a reply"
            return self._kill(StepError(type="SecurityError", message=text))
        call = HostCall(
            text=text,
            credential=self._configurations.get(frame.step, ""),
            traffic=CallTraffic(self._traffic),
            number=frame.number,
            kind=frame.kind,
            step=frame.step,
            execution=frame.execution,
            now_us=frame.now_us,
        )
        task = asyncio.create_task(self._reply(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel the calls that have no reply yet."""
        for task in self._tasks:
            task.cancel()

    async def _reply(self, call: HostCall) -> None:
        try:
            # The text, the body that is parsed from it, and that body as bytes.
            call.traffic.hold(3 * len(call.text))
            await self._send_reply(call, await self._host.handle(call))
        except TrafficExceeded:
            self._kill(TRAFFIC_EXCEEDED)
        except Exception as error:
            # A defect of the host. The call would else wait until the run's time is over.
            self._kill(StepError(type="HostError", message=f"the host failed: {error!r}"))
        finally:
            call.traffic.release()

    async def _send_reply(self, call: HostCall, reply: HostReply) -> None:
        header = {"number": call.number, "at_us": reply.at_us}
        # Two replies at once would interleave their bytes on the channel.
        async with self._replying:
            frame = await off_loop(encode_frame, header, reply.text, size_bytes=len(reply.text))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                await self._send(frame)
