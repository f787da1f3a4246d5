"""Attacks by the process of a run on its parent: a Python step takes the process over, and writes
frames of its own. Each test says what it tries."""

from __future__ import annotations

import asyncio
import json
import os
import select
import struct
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.child_frames import ChildFrames, FakeZygote
from tests.support.helpers import check_events, job, workflow
from worker.core.events import AnyEvent, StepStart
from worker.runner.pool import Pool
from worker.runner.prepare import Options, prepare
from worker.runner.result import Result
from worker.sandbox.limits import Limits
from worker.sandbox.parent.process_pool import ProcessPool
from worker.sandbox.parent.runner_client import ProgramEncoder, RunnerClient, RunOnRunner
from worker.sandbox.protocol import RunRequest, encode_frame

# The channel is one of these descriptors; what else is open is of no use to the parent either.
HOSTILE = """
import os, time

def step(state):
    data = bytes.fromhex("DATA")
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, data)
        except OSError:
            pass
    time.sleep(60)
"""
RUN_ID = "00000000-0000-4000-8000-000000000001"


def hostile(data: bytes) -> Any:
    source = HOSTILE.replace("DATA", data.hex())
    return workflow({"id": "a", "adaptor": "python", "expression": source})


class Processes:
    """A sink that takes hold of the process that a run has, to see it exit."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._pidfd = -1

    def receive(self, event: AnyEvent) -> None:
        if isinstance(event, StepStart):
            pid = self._pool.zygote_pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            self._pidfd = os.pidfd_open(max(map(int, children)))

    def close(self) -> None: ...

    async def run(self, data: bytes) -> Result:
        """Run a step that writes ``data``; fail where its process lives on for 5 seconds."""
        options = Options(modules=frozenset({"os"}), limits=Limits(timeout_s=30, memory_mb=100))
        flow = hostile(data)
        result = await self._pool.run(flow, {}, options, sinks=[self], run_id=RUN_ID)
        exited: Any = await asyncio.to_thread(select.select, [self._pidfd], [], [], 5)
        os.close(self._pidfd)
        assert exited[0], "the process lives on"
        return result


def child() -> ChildFrames:
    """Return the frames of the run above, from its third on."""
    frames = ChildFrames(prepare(hostile(b""), {}, Options(), RUN_ID))
    frames.run_start(), frames.step_start()
    return frames


def framed(head: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<II", len(head), len(body)) + head + body


def done(**fields: Any) -> bytes:
    return json.dumps({**child().step_complete(), **fields}).encode()


DEEP = '{"a":' * 2000 + "1" + "}" * 2000
ATTACKS = {
    "no frame": b"\xff" * 64,
    "a frame of 2 GB": struct.pack("<II", 2, 2**31 - 1) + b"{}",
    "a header of 60 MB": struct.pack("<II", 60 * 2**20, 0),
    "a dataclip over the limits": struct.pack("<II", len(done()), 40 * 2**20) + done(),
    "an unknown reason": framed(done(reason="banana")),
    "a deep header": framed(done()[:-1] + b', "error": ' + DEEP.encode() + b"}"),
    "a deep dataclip": framed(done(), DEEP.encode()),
    "a dataclip that is no JSON": framed(done(), b"{not json"),
    "a dataclip that is no UTF-8": framed(done(), b'"\xff"'),
    "a message that is no text": encode_frame({**child().log(), "message": [1, 2]}),
    "a step that does not exist": framed(done(job_id="x")),
    "an end while a step runs": encode_frame({**child().run_complete(), "seq": 2}),
    "a frame of runners": encode_frame({"type": "runner:stopped", "mem": 1}),
    "a call of another step": encode_frame({**child().call(), "step": "b"}),
}


@pytest.mark.slow
async def test_a_wrong_frame_ends_its_run_once_and_kills_its_process() -> None:
    """Tries to raise in the parent, to fill its memory, or to end the run twice or never."""
    async with Pool(size=1) as pool:
        for name, data in ATTACKS.items():
            result = await Processes(pool).run(data)
            check_events(result)
            expected = (name, "exception", "ProtocolError")
            assert (name, result.status, result.error_type) == expected, result.error
            types = [event.type for event in result.events]
            assert types == ["run:start", "step:start", "step:complete", "run:complete"]
            assert result.final_state is None


async def test_a_process_that_forges_its_end_does_not_live_on() -> None:
    """Tries to end the watch: the slot is free and the clock stopped, while the code runs on."""
    frames = child()
    ends = ((frames.step_complete(), '{"data":1}'), (frames.run_complete(), '{"data":1}'))
    async with Pool(size=1) as pool:
        result = await Processes(pool).run(b"".join(encode_frame(*end) for end in ends))
    check_events(result)
    assert (result.status, result.final_state) == ("success", {"data": 1})


# --- a runner that does not become idle -----------------------------------------------------------


class HostileRunner:
    """A runner whose frames the test writes."""

    def __init__(self) -> None:
        self.zygote = FakeZygote()
        self.client = RunnerClient(self.zygote, ProgramEncoder())  # type: ignore[arg-type]
        self.events: list[AnyEvent] = []

    def request(self) -> RunRequest:
        return prepare(workflow(job("fn(s => s);", "a")), {}, Options(), str(uuid.uuid4()))

    async def run(self, *after: dict[str, Any]) -> None:
        """Complete a run, and send more frames after it."""
        await self.run_and(b"".join(map(encode_frame, after)))

    async def run_and(self, after: bytes) -> None:
        """Complete a run, and send more bytes after it."""
        request = self.request()
        frames = [
            header for header, _ in ChildFrames(request).whole() if header["type"] != "host:call"
        ]
        self.zygote.channel.sendall(b"".join([*map(encode_frame, frames), after]))
        await RunOnRunner(self.client, request, self.events.append, None).run(None)

    def close(self) -> None:
        self.client.close()
        self.zygote.channel.close()

    async def killed(self) -> list[str]:
        async with asyncio.timeout(5):
            while not self.zygote.killed:
                await asyncio.sleep(0.01)
        return self.zygote.killed


IDLE = {"type": "runner:idle"}


@pytest.fixture
async def runner() -> AsyncIterator[HostileRunner]:
    runner = HostileRunner()
    yield runner
    runner.close()


async def test_a_runner_that_is_busy_after_its_run_is_killed(runner: HostileRunner) -> None:
    """Tries to run on for ever, where no other run needs the runner."""
    await runner.run()
    assert runner.events[-1].type == "run:complete" and runner.zygote.killed == []
    runner.client.give_back()
    assert await runner.killed() == ["0"]
    assert not runner.client.take()


async def test_a_runner_that_is_idle_after_its_run_executes_the_next_one(
    runner: HostileRunner,
) -> None:
    for _ in range(3):
        await runner.run()
        runner.client.give_back()
        runner.zygote.send(IDLE)
        assert runner.client.take() and runner.client.is_idle
    await runner.run(IDLE)
    assert runner.client.is_idle and runner.client.take() and runner.zygote.killed == []


async def test_a_frame_of_an_idle_runner_may_come_in_parts(runner: HostileRunner) -> None:
    """A read may end within it, as it follows the run's last events without a gap."""
    frame = encode_frame(IDLE)
    for parts in range(1, len(frame)):
        first, second = frame[:parts], frame[parts:]
        await runner.run_and(first)
        assert not runner.client.take(), "a run that starts here reads the rest as a frame"
        runner.zygote.channel.sendall(second)
        assert runner.client.take() and runner.client.is_idle
    assert runner.zygote.killed == []


@pytest.mark.parametrize("sent", [[IDLE, IDLE], [{"type": "run:log"}], [IDLE, {}]], ids=str)
async def test_a_runner_that_sends_anything_else_between_runs_is_not_used(
    runner: HostileRunner, sent: Any
) -> None:
    await runner.run()
    runner.zygote.send(*sent)
    assert not runner.client.take()


@pytest.mark.slow
async def test_the_next_run_does_not_wait_for_a_runner_that_stays_busy(
    runner: HostileRunner,
) -> None:
    """Tries to have the next run end with it."""
    await runner.run()
    async with Pool(size=1) as other:
        processes: ProcessPool = other._processes
        zygote = await processes._ready_zygote(runner.request().realm)
        processes._idle[zygote] = [runner.client]
        result = await asyncio.wait_for(other.run(workflow(job("fn(s => s);", "a")), {}), 20)
    check_events(result)
    assert result.status == "success"
    assert runner.zygote.killed
