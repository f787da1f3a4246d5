"""The process of a run: however it ends, its run is completed once, and no step runs twice."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_run import FakeRun, SilentHost, request_for
from tests.support.helpers import check_events, job, logs, workflow
from worker.adaptors.http.stub_host import StubHost
from worker.core.events import AnyEvent, RunLog, StepStart
from worker.runner.pool import Pool, start_evaluator
from worker.runner.prepare import Options
from worker.runner.result import Result
from worker.sandbox.limits import Limits
from worker.sandbox.parent.host import HostCall, HostReply
from worker.sandbox.parent.host_calls import MAX_PENDING_CALLS
from worker.sandbox.parent.zygote_client import ZygoteError

IDLE = "fn(() => new Promise(() => {}));"


class OnEvent:
    """A sink that calls a function for every event of a type."""

    def __init__(self, type: type, act: Any) -> None:
        self._type, self._act = type, act

    def receive(self, event: object) -> None:
        if isinstance(event, self._type):
            self._act()

    def close(self) -> None: ...


def types(result: Result) -> Counter[str]:
    return Counter(event.type for event in result.events)


def child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def has_exited(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], 10)[0])


# --- death of the zygote --------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_run_whose_zygote_dies_is_completed_once_and_no_step_runs_twice() -> None:
    flow = workflow(
        job("fn(s => { console.log('first'); return s; });", "first", next="second"),
        job("fn(s => { console.log('second'); return new Promise(() => {}); });", "second"),
    )
    async with Pool(size=1) as pool:

        def kill_at_the_second_step() -> None:
            if next(waits) == 1:
                os.kill(pool.zygote_pid, signal.SIGKILL)

        waits = iter(range(10))
        sink = OnEvent(RunLog, kill_at_the_second_step)
        # A second execution would never end: the time limit makes it a failure, and not a hang.
        options = Options(limits=Limits(timeout_s=5))
        result = await pool.run(flow, {}, options, sinks=[sink])
        check_events(result)
        assert (result.status, result.error_type) == ("exception", "ZygoteError")
        assert logs(result) == ["first", "second"]
        assert types(result)["run:start"] == types(result)["run:complete"] == 1
        assert types(result)["step:start"] == 2
        assert (await pool.run(workflow(job("fn(s => s);")), {})).status == "success"


@pytest.mark.slow
async def test_a_run_before_its_first_event_is_given_to_another_zygote() -> None:
    async with Pool(size=1) as pool:
        assert (await pool.run(workflow(job("fn(s => s);")), {})).status == "success"
        # Its runner outlives it by a moment, in which it could start the run and send an event.
        os.kill(pool.zygote_pid, signal.SIGSTOP)
        os.kill(child_of(pool.zygote_pid), signal.SIGSTOP)
        os.kill(pool.zygote_pid, signal.SIGKILL)
        result = await pool.run(workflow(job("fn(s => s);")), {})
        check_events(result)
        assert result.status == "success"


async def test_zygotes_that_never_start_complete_a_run_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with Pool(size=1) as pool:
        result = await pool.run(workflow(job("fn(s => s);")), {})
    assert (result.status, result.error_type) == ("exception", "ZygoteError")
    assert [event.type for event in result.events] == ["run:complete"]


@pytest.mark.slow
async def test_no_run_outlives_its_zygote() -> None:
    async with Pool(size=1) as pool:
        pidfds: list[int] = []

        def kill_the_zygote() -> None:
            pidfds.append(os.pidfd_open(child_of(pool.zygote_pid)))
            os.kill(pool.zygote_pid, signal.SIGKILL)

        sink = OnEvent(StepStart, kill_the_zygote)
        run = asyncio.create_task(pool.run(workflow(job(IDLE)), {}, sinks=[sink]))
        try:
            await asyncio.wait_for(asyncio.shield(run), 10)
            assert has_exited(pidfds[0])
        finally:
            # Where it outlives the zygote, nothing else would end it.
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfds[0], signal.SIGKILL)
            os.close(pidfds[0])
            await run


async def test_an_evaluator_whose_zygote_dies_returns_an_error_within_seconds() -> None:
    flow = workflow(
        job("fn(s => s);", "a", next={"b": {"condition": "true"}}), job("fn(s => s);", "b")
    )
    async with Pool(size=1) as pool:
        evaluator = await start_evaluator(pool, request_for(flow))
        assert await asyncio.to_thread(evaluator.startup_error) is None
        pidfd = os.pidfd_open(child_of(pool.zygote_pid))
        os.kill(pool.zygote_pid, signal.SIGKILL)
        assert has_exited(pidfd)
        os.close(pidfd)
        result = await asyncio.to_thread(evaluator.evaluate, "a", "{}", now_us=0, seed=None)
        assert result.error is not None and result.error.type == "ZygoteError"
        assert evaluator.closed


# --- privileges -----------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_runs_process_gains_no_privileges() -> None:
    async with Pool(size=1) as pool:
        status: list[str] = []
        cancel = asyncio.Event()

        def read_status() -> None:
            status.append(Path(f"/proc/{child_of(pool.zygote_pid)}/status").read_text())
            cancel.set()

        sink = OnEvent(StepStart, read_status)
        await pool.run(workflow(job(IDLE)), {}, sinks=[sink], cancel=cancel)
    assert "NoNewPrivs:\t1\n" in status[0]


# --- a process that breaks the protocol -----------------------------------------------------------

HOSTILE = """
import os, time

def step(state):
    print("about to write")
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"\\xff" * 64)
        except OSError:
            pass
    time.sleep(60)
"""


@pytest.mark.slow
async def test_a_process_that_writes_garbage_ends_once_as_an_exception_and_is_killed() -> None:
    flow = workflow({"id": "a", "adaptor": "python", "expression": HOSTILE})
    async with Pool(size=1) as pool:
        pidfds: list[int] = []
        sink = OnEvent(StepStart, lambda: pidfds.append(os.pidfd_open(child_of(pool.zygote_pid))))
        options = Options(modules=frozenset({"os"}), limits=Limits(timeout_s=20))
        result = await pool.run(flow, {}, options, sinks=[sink])
        assert has_exited(pidfds[0])
        os.close(pidfds[0])
    check_events(result)
    assert (result.status, result.error_type) == ("exception", "ProtocolError")
    assert types(result)["run:complete"] == 1


async def test_a_run_that_is_cancelled_while_its_zygote_dies_is_cancelled_and_not_run_again() -> (
    None
):
    run = FakeRun()
    run.zygote.send(run.frames.run_start())
    await run.until(lambda: run.events)
    run.zygote.exited.set_exception(ZygoteError())
    run.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run.task
    run.zygote.channel.close()
    error = run.complete().error
    assert error is not None and error.type == "CancelledError"


@pytest.mark.parametrize("started", [False, True])
async def test_a_run_whose_zygote_dies_is_given_back_only_before_its_first_event(
    started: bool,
) -> None:
    run = FakeRun()
    # A request that nobody has read is another case.
    await asyncio.to_thread(run.zygote.channel.recv, 1 << 20)
    if started:
        run.zygote.send(run.frames.run_start())
        await run.until(lambda: run.events)
    run.zygote.exited.set_exception(ZygoteError())
    run.zygote.channel.close()
    if not started:
        with pytest.raises(ZygoteError):
            await asyncio.wait_for(run.task, 10)
        assert run.events == []
        return
    await asyncio.wait_for(run.task, 10)
    error = run.complete().error
    assert error is not None and error.type == "ZygoteError"


async def test_an_error_of_whoever_receives_the_events_is_raised_and_the_process_is_killed() -> (
    None
):
    def receive(event: AnyEvent) -> None:
        raise LookupError("no room")

    run = FakeRun(receive=receive)
    run.zygote.send(run.frames.run_start())
    with pytest.raises(LookupError, match="no room"):
        await asyncio.wait_for(run.task, 10)
    assert run.zygote.killed


async def test_a_request_that_is_larger_than_the_channel_arrives_whole() -> None:
    run = FakeRun(input={"data": "x" * 4_000_000})

    def read() -> int:
        size = 0
        while size < 4_000_000:
            size += len(run.zygote.channel.recv(1 << 20))
        return size

    async with asyncio.timeout(60):
        assert await asyncio.to_thread(read) >= 4_000_000
    run.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run.task


async def test_a_host_that_fails_ends_the_run_as_an_exception() -> None:
    class BrokenHost(SilentHost):
        async def handle(self, call: HostCall) -> HostReply:
            raise KeyError("defect")

    run = FakeRun(BrokenHost())
    run.zygote.send(run.frames.run_start(), run.frames.step_start(), run.frames.call())
    await asyncio.wait_for(run.task, 10)
    error = run.complete().error
    assert error is not None and (error.type, error.reason) == ("HostError", "exception")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"method":1}', "[" * 100_000, '{"method":"GET","url":"u","redirects":1e999}'],
    ids=lambda text: text[:12],
)
async def test_a_call_that_is_no_request_has_an_error_as_its_reply(text: str) -> None:
    call = HostCall(number=1, kind="http", text=text, step="a", execution=0, now_us=0)
    reply = await StubHost(()).handle(call)
    assert json.loads(reply.text)["error"]["name"] == "TypeError"


async def test_a_run_may_have_so_many_open_calls_and_no_more() -> None:
    run = FakeRun()
    run.zygote.send(run.frames.run_start(), run.frames.step_start())
    run.zygote.send(*(run.frames.call(number + 1) for number in range(1000)))
    await run.until(lambda: len(run.host.calls) == 1000)
    assert MAX_PENDING_CALLS == 1000 and run.zygote.killed == [] and not run.task.done()
    run.zygote.send(run.frames.call(1001))
    await asyncio.wait_for(run.task, 10)
    error = run.complete().error
    assert error is not None and error.type == "SecurityError" and run.zygote.killed
    assert "more than 1,000 requests" in error.message
