"""Runners: processes that execute run after run, of which none learns anything of another."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import pickle
import signal
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from tests.support.examples import examples
from tests.support.helpers import check_events, job, workflow
from worker.core.events import RunComplete, StepStart
from worker.runner.pool import Pool
from worker.runner.prepare import Options, prepare
from worker.runner.result import Result
from worker.sandbox.child.runner import Runner
from worker.sandbox.child.warm_up import warm_up
from worker.sandbox.isolation import Isolation
from worker.sandbox.javascript.engine import Engine, realm_image
from worker.sandbox.limits import Limits
from worker.sandbox.parent.runner_client import ProgramEncoder, RunOnRunner
from worker.sandbox.protocol import (
    OWN_FIELDS,
    PROGRAM_FIELDS,
    FrameDecoder,
    RunRequest,
    decode_object,
)

NOTHING = workflow(job("fn(s => s);"))
ENDLESS = workflow(job("fn(s => { for (;;); });"))
IDLE = workflow(job("fn(() => new Promise(() => {}));"))
MEMORY = workflow(job("fn(s => { const a = []; for (;;) a.push({ n: a.length }); });"))


def children(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


class OnStep:
    """A sink that calls a function when a step starts."""

    def __init__(self, act: Any) -> None:
        self._act = act

    def receive(self, event: object) -> None:
        if isinstance(event, StepStart):
            self._act()

    def close(self) -> None: ...


def ends(result: Result) -> list[RunComplete]:
    return [event for event in result.events if isinstance(event, RunComplete)]


# --- what a runner survives -----------------------------------------------------------------------


@pytest.mark.slow
async def test_runs_of_different_workflows_share_a_process() -> None:
    async with Pool(size=1) as pool:
        pids = []
        for number in range(6):
            flow = workflow(job(f"fn(s => ({{ ...s, n: {number % 3} }}));"))
            result = await pool.run(flow, {"data": {"a": number}})
            assert result.final_state == {"data": {"a": number}, "n": number % 3}
            pids.append(children(pool.zygote_pid))
        assert all(pid == pids[0] and len(pid) == 1 for pid in pids)


@pytest.mark.slow
@pytest.mark.parametrize("flow", [ENDLESS, IDLE, MEMORY], ids=["endless", "idle", "memory"])
async def test_a_run_over_a_limit_leaves_the_runner_alive(
    flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The runner ends the run by itself, however long a busy machine lets it wait.
    monkeypatch.setattr(RunOnRunner, "grace_s", 30)
    limits = Limits(timeout_s=20 if flow is MEMORY else 0.3, memory_mb=64)
    async with Pool(size=1) as pool:
        await pool.run(NOTHING)
        before = children(pool.zygote_pid)
        result = await pool.run(flow, {}, Options(limits=limits))
        check_events(result)
        expected = "OomError" if flow is MEMORY else "TimeoutError"
        assert (result.error_type, len(ends(result))) == (expected, 1)
        assert (await pool.run(NOTHING, {"data": 2})).final_state == {"data": 2}
        assert children(pool.zygote_pid) == before


async def test_a_cancelled_run_ends_at_once_and_the_next_one_succeeds() -> None:
    cancel = asyncio.Event()
    async with Pool(size=1) as pool:
        result = await pool.run(ENDLESS, {}, sinks=[OnStep(cancel.set)], cancel=cancel)
        check_events(result)
        assert result.error_type == "CancelledError"
        assert (await pool.run(NOTHING)).status == "success"


async def test_a_runner_that_dies_ends_its_run_once_and_is_replaced() -> None:
    async with Pool(size=1) as pool:

        def kill() -> None:
            for pid in children(pool.zygote_pid):
                os.kill(pid, signal.SIGKILL)

        result = await pool.run(ENDLESS, {}, sinks=[OnStep(kill)])
        check_events(result)
        assert (result.error_type, len(ends(result))) == ("ProcessError", 1)
        assert [event.type for event in result.events].count("step:start") == 1
        assert (await pool.run(NOTHING)).status == "success"


async def test_an_idle_runner_that_dies_costs_no_run() -> None:
    async with Pool(size=1) as pool:
        await pool.run(NOTHING)
        for pid in children(pool.zygote_pid):
            os.kill(pid, signal.SIGKILL)
        while children(pool.zygote_pid):
            await asyncio.sleep(0.01)
        assert (await pool.run(NOTHING)).status == "success"


@pytest.mark.slow
async def test_a_runner_that_dies_before_it_reads_a_run_leaves_it_to_another() -> None:
    async with Pool(size=1) as pool:
        await pool.run(NOTHING)
        (pid,) = children(pool.zygote_pid)
        os.kill(pid, signal.SIGSTOP)
        # Long enough to fill the channel, and short enough to be sent as a whole.
        for text in ("x" * 10_000_000, "x"):
            running = asyncio.create_task(pool.run(NOTHING, {"data": text}))
            await asyncio.sleep(0.1)
            os.kill(pid, signal.SIGKILL)
            result = await running
            check_events(result)
            assert result.final_state == {"data": text}
            assert [event.type for event in result.events].count("step:start") == 1
            (pid,) = children(pool.zygote_pid)
            os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)


async def test_a_runner_that_does_not_react_is_killed() -> None:
    async with Pool(size=1) as pool:

        def stop() -> None:
            for pid in children(pool.zygote_pid):
                os.kill(pid, signal.SIGSTOP)

        options = Options(limits=Limits(timeout_s=0.5))
        result = await pool.run(IDLE, {}, options, sinks=[OnStep(stop)])
        check_events(result)
        assert (result.error_type, len(ends(result))) == ("TimeoutError", 1)
        assert (await pool.run(NOTHING)).status == "success"


@pytest.mark.slow
async def test_runs_with_python_steps_have_a_process_of_their_own() -> None:
    flow = workflow(
        job("fn(s => ({ ...s, a: 1 }));", "a", next="b"),
        {"id": "b", "adaptor": "python", "expression": "def step(s):\n    return {**s, 'b': 2}\n"},
    )
    async with Pool(size=1) as pool:
        assert (await pool.run(flow)).final_state == {"data": {}, "a": 1, "b": 2}
        while children(pool.zygote_pid):
            await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("isolation", Isolation)
async def test_a_pool_shares_processes_as_its_isolation_states(isolation: Isolation) -> None:
    async with Pool(1, isolation) as pool:
        used = set()
        for _ in range(4):
            assert (await pool.run(NOTHING)).status == "success"
            used |= set(children(pool.zygote_pid))
        # A process that was used is killed at the next chance, and its successor started at once.
        assert (len(used) == 1) is (isolation is Isolation.RUNNER)


async def test_the_peak_is_that_of_the_run_itself() -> None:
    large = workflow(job("fn(s => { const a = new Uint8Array(3e7).fill(1); return s; });"))
    async with Pool(size=1) as pool:
        small = ends(await pool.run(NOTHING))[0].mem
        assert 3e7 < ends(await pool.run(large))[0].mem < 3.2e7
        assert ends(await pool.run(NOTHING))[0].mem == small < 1e6


@pytest.mark.slow
async def test_the_images_of_workflows_take_nothing_of_a_runs_memory() -> None:
    options = Options(limits=Limits(memory_mb=16))
    async with Pool(size=1) as pool:
        for number in range(40):
            flow = workflow(job(f"fn(s => ({{ ...s, n: {number} }}));"))
            assert (await pool.run(flow, {}, options)).status == "success"
        assert len(children(pool.zygote_pid)) == 1


# --- what a run leaves behind ---------------------------------------------------------------------

LEAVES = {
    "output": "fn(s => ({ data: s.data, left: C }));",
    "log": "fn(s => { console.log(C, [C]); return s; });",
    "error": "fn(s => { throw new Error(C); });",
    "rejection": "fn(s => { Promise.reject(new Error(C)); return s; });",
    "timer": "fn(s => { setTimeout(() => C, 1e6); setInterval(() => C, 1e6); return s; });",
    "pending": "fn(async s => { new Promise(() => C).then(() => C); return s; });",
    "module state": "let kept = []; fn(s => { kept.push(C); return { ...s, kept }; });",
    "symbol": "fn(s => { Symbol.for(C); return { ...s, [C]: 1 }; });",
    "buffer": "fn(s => { const b = Buffer.from(C + C); return { ...s, b: b.toString('hex') }; });",
    "credential": "fn(s => ({ ...s, text: s.configuration.password + C }));",
    "wide text": "fn(s => ({ ...s, text: C + '\\u4e2d' }));",
    "freed": "fn(s => { for (let i = 0; i < 500; i++) (C + i).split(''); return s; });",
    "memory": "fn(s => { const a = []; for (;;) a.push(C + a.length); });",
}  # fmt: skip


class InProcess:
    """A runner in the process of the test, which can look into its memory."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self.runner = Runner(self._theirs, realm_image(), Engine())
        self._encoder = ProgramEncoder()

    def run(self, request: RunRequest) -> list[dict[str, Any]]:
        key, _ = self._encoder.encode(request)
        if key not in self.runner._programs:
            fields = {name: getattr(request, name) for name in PROGRAM_FIELDS}
            self.runner._add_program(key, base64.b64encode(pickle.dumps(fields)).decode())
        shared = (*PROGRAM_FIELDS, *OWN_FIELDS)
        fields = {name: value for name, value in asdict(request).items() if name not in shared}
        options = base64.b64encode(pickle.dumps(fields)).decode()
        own = {"run_id": request.run_id, "seed": request.seed}
        self.runner._run({"program": key, "options": options, **own}, request.input)
        decoder = FrameDecoder(decode_object)
        return [header for header, _ in decoder.feed(self._ours.recv(1 << 20))]

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    @property
    def memory(self) -> bytes:
        return bytes(self.runner._engine.instance.content())


@pytest.fixture(scope="module")
def in_process() -> Iterator[InProcess]:
    with pytest.MonkeyPatch.context() as patch:
        # The limit is for a process of its own, and not for that of the tests.
        patch.setattr("worker.sandbox.child.runner.limit_data", lambda memory_bytes: None)
        runner = InProcess()
        yield runner
        runner.close()


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(sorted(LEAVES)), min_size=1, max_size=3, unique=True),
    canary=st.uuids().map(lambda value: value.hex),
)
def test_nothing_of_a_run_is_left_in_memory(
    in_process: InProcess, names: list[str], canary: str
) -> None:
    # The canary comes with the input and the credential: what the source holds is in the image.
    steps = [
        job(
            LEAVES[name].replace("C", "s.data.secret"),
            name,
            configuration={"password": f"p{canary}"},
            **({"next": following} if following else {}),
        )
        for name, following in zip(names, [*names[1:], None], strict=True)
    ]
    flow = workflow(*steps)
    options = Options(limits=Limits(memory_mb=32, timeout_s=30))
    request = prepare(flow, {"data": {"secret": canary}}, options, str(uuid.uuid4()))
    in_process.run(request)
    memory = in_process.memory
    for text in (canary, f"p{canary}"):
        for encoding in ("utf-8", "utf-16-le"):
            assert text.encode(encoding) not in memory
    image = in_process.runner._engine.instance.image
    assert image is not None and memory[: image.size] == bytes(image.view)
    assert not any(memory[image.size :])


@pytest.mark.slow
def test_the_warm_up_of_the_zygote_leaves_nothing_in_the_engine() -> None:
    image = realm_image()
    engine = Engine(image)
    log = engine.log
    warm_up(engine, image)
    assert bytes(engine.instance.content()) == bytes(image.view)
    assert engine.log.__qualname__ == log.__qualname__ and engine.instance.image is image


def test_programs_that_were_dropped_are_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sandbox.child.runner.MAX_PROGRAMS", 2)
    in_process = InProcess()
    runner = in_process.runner
    body = base64.b64encode(pickle.dumps({})).decode()
    for key in "abc":
        runner._add_program(key, body)
    assert list(runner._programs) == ["b", "c"]
    assert b'"programs":["a"]' in b"".join(runner._sender._unsent)
    in_process.close()


@pytest.mark.slow
def test_a_program_that_was_dropped_leaves_no_open_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sandbox.child.runner.MAX_PROGRAMS", 2)
    monkeypatch.setattr("worker.sandbox.child.runner.limit_data", lambda memory_bytes: None)
    in_process = InProcess()
    gc.collect()
    # What is left must be closed without it: it may not run for thousands of programs.
    gc.disable()
    counts = []
    try:
        for number in range(6):
            flow = workflow(job(f"fn(s => ({{ ...s, n: {number} }}));"))
            in_process.run(prepare(flow, {}, Options(), str(uuid.uuid4())))
            counts.append(len(list(Path("/proc/self/fd").iterdir())))
    finally:
        gc.enable()
        in_process.close()
    assert counts[2] == counts[-1], counts
