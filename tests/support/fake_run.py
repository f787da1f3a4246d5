"""A run whose process a test stands in for."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from tests.support.child_frames import ChildFrames, FakeZygote
from tests.support.helpers import job, workflow
from worker.core.events import AnyEvent, RunComplete
from worker.runner.prepare import Options, prepare
from worker.sandbox.parent.host import HostCall, HostReply
from worker.sandbox.parent.run_process import RunProcess
from worker.sandbox.protocol import RunRequest


class SilentHost:
    """A host that never replies."""

    def __init__(self) -> None:
        self.calls: list[HostCall] = []

    async def handle(self, call: HostCall) -> HostReply:
        self.calls.append(call)
        return await asyncio.Future()


def request_for(flow: Any, input: Any = None, options: Options | None = None) -> RunRequest:
    return prepare(flow, input or {}, options or Options(), str(uuid.uuid4()))


class FakeRun:
    """A run process whose frames the test writes."""

    def __init__(
        self,
        host: SilentHost | None = None,
        *,
        receive: Any = None,
        input: Any = None,
        options: Options | None = None,
        cancel: asyncio.Event | None = None,
    ) -> None:
        self.request = request_for(workflow(job("fn(s => s);")), input, options)
        self.zygote, self.host = FakeZygote(), host or SilentHost()
        self.frames = ChildFrames(self.request)
        self.events: list[AnyEvent] = []
        receive = receive or self.events.append
        process = RunProcess(self.zygote, self.request, receive, self.host)
        self.task = asyncio.create_task(process.run(cancel))

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.01)

    def complete(self) -> RunComplete:
        (event,) = [event for event in self.events if isinstance(event, RunComplete)]
        assert event is self.events[-1]
        return event
