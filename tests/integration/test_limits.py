"""Time, memory and sizes: what a run may use, and what happens when it uses more."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import worker
from tests.support.helpers import check_events, job, logs, run_job, workflow
from worker.core.events import RunLog, StepComplete, StepStart
from worker.runner.pool import Pool
from worker.sandbox.limits import Limits

MIB = 2**20


@pytest.mark.parametrize(
    "source",
    [
        "fn(state => { while (true) {} });",
        "fn(state => new Promise(() => {}));",
        "fn(async state => { while (true) await null; });",
        "fn(state => { /^(a+)+$/.test('a'.repeat(40) + '!'); });",
        "fn(state => { const f = () => setTimeout(f, 1); f(); return new Promise(() => {}); });",
    ],
    ids=["loop", "hang", "microtasks", "regex", "timers"],
)
def test_a_run_over_its_time_is_killed(source: str) -> None:
    result = run_job(source, timeout=0.2)
    assert (result.status, result.error_type) == ("killed", "TimeoutError")
    assert result.path[0].outcome == "killed"
    assert "0.2 s" in (result.error_message or "")


def test_the_clock_stands_still_for_a_run_in_time() -> None:
    assert run_job("fn(state => state);", timeout=5).status == "success"


@pytest.mark.parametrize(
    "hog",
    [
        "const a = []; while (true) a.push({ n: a.length });",
        "const a = []; while (true) a.push('x'.repeat(1e6) + a.length);",
        "const a = []; while (true) a.push(new Uint8Array(1e6).fill(1));",
        "new ArrayBuffer(2e9);",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, [i]);",
        "let s = 'x'; while (true) s = [s + s, s].join('');",
    ],
    ids=["objects", "strings", "buffers", "one-buffer", "map", "doubling"],
)
def test_a_run_over_its_memory_is_killed(hog: str) -> None:
    result = run_job(f"fn(state => {{ {hog} }});", memory_mb=64)
    assert (result.status, result.error_type) == ("killed", "OomError"), result.error
    peak = max(e.mem for e in result.events if isinstance(e, StepComplete))
    assert peak < (64 + 48) * MIB


@pytest.mark.parametrize(
    "source",
    [
        "fn(s => { /(?:(a)|b)*c/.exec('ab'.repeat(2e7)); return s; });",
        "fn(s => { try { /(a*)*b/.exec('a'.repeat(3e7)); } catch {} return s; });",
        "fn(s => ({ get data() { const a = []; for (;;) a.push({ a }); } }));",
        pytest.param(
            "fn(s => { const next = () => new Promise((r) => r()).then(next); return next(); });",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_memory_that_is_used_up_outside_of_a_jobs_own_code(source: str) -> None:
    """A search, a getter that the serializer calls, and promises that only the engine keeps."""
    assert run_job(source, memory_mb=64).error_type == "OomError"


@pytest.mark.parametrize(
    "source",
    [
        "fn(state => { try { new Uint8Array(1e9); } catch {} return state; });",
        "fn(state => { try { const a = []; for (;;) a.push({ n: a.length }); } catch {} return state; });",
        "fn(async state => { await Promise.reject(new Uint8Array(1e9)).catch(() => 1); return state; });",
    ],
)
def test_running_out_of_memory_cannot_be_caught(source: str) -> None:
    assert run_job(source, memory_mb=64).error_type == "OomError"


def test_a_state_over_its_limit_kills_the_run() -> None:
    limits = Limits(state_mb=1)
    result = run_job("fn(state => ({ data: 'x'.repeat(2e6) }));", limits=limits)
    assert (result.status, result.error_type) == ("killed", "StateTooLargeError")
    assert "1.9 MB, over its limit of 1.0 MB" in (result.error_message or "")


def test_the_default_state_limit_is_a_quarter_of_the_memory() -> None:
    source = "fn(state => ({ data: 'x'.repeat(state.data.n) }));"
    assert run_job(source, {"data": {"n": 15 * MIB}}, memory_mb=64).status == "success"
    over = run_job(source, {"data": {"n": 17 * MIB}}, memory_mb=64)
    assert (over.status, over.error_type) == ("killed", "StateTooLargeError"), over.error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "source", "type"),
    [
        ({"run_timeout_ms": 300}, "fn(s => { while (true) {} });", "TimeoutError"),
        (
            {"run_memory_limit_mb": 64},
            "fn(s => { const a = []; while (true) a.push(new Uint8Array(1e6).fill(1)); });",
            "OomError",
        ),
    ],
)
def test_the_limits_that_a_workflow_file_states_are_kept(
    tmp_path: Path, option: dict[str, int], source: str, type: str
) -> None:
    file = tmp_path / "w.json"
    plan = {"options": option, "workflow": {"name": "w", "steps": [job(source)]}}
    file.write_text(json.dumps(plan))
    done = subprocess.run(
        [sys.executable, "-m", "worker", "run", str(file), "--json", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert (events[-1]["reason"], events[-1]["error_type"]) == ("kill", type), done.stderr
    # Without its option, either run would go on to a default limit: 300 s, or 500 MB.
    assert events[-1]["duration"] < 10_000_000
    assert events[-1]["mem"] < 300 * MIB


def test_an_output_over_the_payload_limit_is_withheld_and_still_passed_on() -> None:
    steps = (
        job("fn(state => ({ data: 'x'.repeat(2e6) }));", "a", next="b"),
        job("fn(state => ({ length: state.data.length }));", "b"),
    )
    result = worker.run(workflow(*steps), {}, limits=Limits(payload_mb=1))
    first = next(e for e in result.events if isinstance(e, StepComplete))
    assert first.withheld and first.output_dataclip is None
    assert result.final_state == {"length": 2_000_000}


def test_a_final_state_over_the_payload_limit_is_withheld_from_the_event_alone() -> None:
    result = run_job("fn(state => ({ data: 'x'.repeat(2e6) }));", limits=Limits(payload_mb=1))
    assert result.events[-1].withheld and result.events[-1].final_state is None  # type: ignore[union-attr]
    assert len(result.final_state["data"]) == 2_000_000


def test_a_long_log_line_is_cut() -> None:
    result = run_job("fn(s => { console.log('x'.repeat(3e6)); return s; });")
    (line,) = logs(result)
    assert len(line) < 1.1 * MIB and "cut: 3000000 characters" in line


def test_too_many_log_lines_are_dropped_with_one_warning() -> None:
    source = "fn(s => { for (let i = 0; i < 500; i++) console.log(i); return s; });"
    result = run_job(source, limits=Limits(log_lines=100))
    lines = [event for event in result.events if isinstance(event, RunLog)]
    assert len(lines) == 101
    assert "too many log lines" in lines[-1].message


def test_too_much_log_text_is_dropped_too() -> None:
    source = "fn(s => { for (let i = 0; i < 100; i++) console.log('x'.repeat(1e5)); return s; });"
    result = run_job(source, limits=Limits(log_total_mb=1))
    lines = [event for event in result.events if isinstance(event, RunLog)]
    assert sum(len(line.message) for line in lines) < 1.1 * MIB
    assert "too many log lines" in lines[-1].message


def test_a_result_holds_no_more_outputs_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.runner.result.HELD_LIMIT", 5_000_000)
    big = "fn(s => ({ data: 'x'.repeat(2e6) }));"
    steps = [job(big, str(i), next=str(i + 1)) for i in range(4)] + [job("fn(s => ({}));", "4")]
    result = worker.run(workflow(*steps), {})
    held = [e.withheld for e in result.events if isinstance(e, StepComplete)]
    assert held == [False, False, True, True, True]


async def test_cancelling_a_run_kills_its_process() -> None:
    cancel = asyncio.Event()

    class CancelAtFirstStep:
        def receive(self, event: object) -> None:
            if isinstance(event, StepStart):
                cancel.set()

        def close(self) -> None: ...

    async with Pool(size=1) as pool:
        endless = workflow(job("fn(() => { while (true) {} });", next="b"), job("fn(s => s);", "b"))
        result = await pool.run(endless, {}, sinks=[CancelAtFirstStep()], cancel=cancel)
        check_events(result)
        assert result.status == "cancelled"
        assert [entry.outcome for entry in result.path] == ["cancelled"]


async def test_a_run_that_was_cancelled_before_it_began_never_starts() -> None:
    cancel = asyncio.Event()
    cancel.set()
    async with Pool(size=1) as pool:
        result = await pool.run(workflow(job("fn(s => s);")), {}, cancel=cancel)
    assert result.status == "cancelled"
    assert [event.type for event in result.events] == ["run:complete"]


async def test_a_process_killed_from_outside_is_an_exception() -> None:
    async with Pool(size=1) as pool:

        class KillFromOutside:
            def receive(self, event: object) -> None:
                if isinstance(event, StepStart):
                    children = Path(f"/proc/{pool.zygote_pid}/task/{pool.zygote_pid}/children")
                    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)

            def close(self) -> None: ...

        endless = workflow(job("fn(() => new Promise(() => {}));"))
        result = await pool.run(endless, {}, sinks=[KillFromOutside()])
        check_events(result)
    assert result.status == "exception"
    assert "SIGKILL" in (result.error_message or "")


async def test_no_process_outlives_its_pool() -> None:
    async with Pool(size=2) as pool:
        await pool.run(workflow(job("fn(s => s);")), {})
        zygote = pool.zygote_pid
    with pytest.raises(ProcessLookupError):
        os.kill(zygote, 0)


async def test_runs_go_on_side_by_side_and_do_not_share_anything() -> None:
    count = "fn(state => { state.n = (globalThis.n ?? 0) + 1; return { n: state.n }; });"
    async with Pool(size=4) as pool:
        results = await asyncio.gather(*(pool.run(workflow(job(count)), {}) for _ in range(12)))
    assert [result.final_state for result in results] == [{"n": 1}] * 12
    assert len({result.run_id for result in results}) == 12


@pytest.mark.parametrize("shape", ["chain", "star"])
@pytest.mark.parametrize("count", [500, pytest.param(5000, marks=pytest.mark.slow)])
def test_thousands_of_steps_run(shape: str, count: int) -> None:
    ids = [f"s{i}" for i in range(count)]
    after = (
        {ids[0]: dict.fromkeys(ids[1:], True)} if shape == "star" else dict(itertools.pairwise(ids))
    )
    source = "fn(state => { state.n = (state.n ?? 0) + 1; return state; });"
    result = worker.run(workflow(*(job(source, id, next=after.get(id)) for id in ids)), {})
    check_events(result)
    assert result.status == "success" and len(result.path) == count
    last = result.final_state if shape == "chain" else result.final_state[ids[-1]]
    assert last["n"] == (count if shape == "chain" else 2)


def test_shared_memory_counts_too() -> None:
    source = "fn(s => { const a = []; while (true) a.push(new Uint8Array(new SharedArrayBuffer(1e6)).fill(1)); });"
    assert run_job(source, memory_mb=64, timeout=20).error_type == "OomError"


def conditional(condition: str) -> worker.Workflow:
    first = job("fn(s => s);", next={"b": {"condition": condition}})
    return workflow(first, job("fn(s => s);", "b"))


@pytest.mark.parametrize(
    "condition",
    [
        "(() => { const a = []; for (;;) a.push({ n: a.length }); })()",
        "new Uint8Array(1e9)",
    ],
)
def test_a_condition_over_the_memory_kills_the_run(condition: str) -> None:
    result = worker.run(conditional(condition), {}, memory_mb=64)
    check_events(result)
    assert (result.status, result.error_type) == ("killed", "OomError"), result.error


def test_a_condition_cannot_blow_the_state_up() -> None:
    grows = conditional("(state.data.x = 'x'.repeat(2e6))")
    result = worker.run(grows, {}, limits=Limits(state_mb=1))
    assert result.error_type == "StateTooLargeError"


def test_a_state_is_measured_in_bytes() -> None:
    source = "fn(s => ({ data: 'ሰ'.repeat(5e5) }));"
    assert run_job(source, limits=Limits(state_mb=1)).error_type == "StateTooLargeError"


def test_final_states_that_are_together_over_the_state_limit_kill_the_run() -> None:
    leaf = "fn(s => ({ data: 'x'.repeat(600000) }));"
    start = job("fn(s => s);", "a", next={"b": True, "c": True})
    flow = workflow(start, job(leaf, "b"), job(leaf, "c"))
    result = worker.run(flow, {}, limits=Limits(state_mb=1))
    check_events(result)
    assert (result.status, result.error_type) == ("killed", "StateTooLargeError")
    assert worker.run(flow, {}, limits=Limits(state_mb=2)).status == "success"


@pytest.mark.parametrize("part", ["e.name = long", "e.message = long", "e.details = long"])
def test_an_error_of_any_length_is_a_failure_with_a_short_error(part: str) -> None:
    source = f"const long = 'x'.repeat(4e6); const e = new Error('m'); {part}; throw e;"
    result = run_job(f"fn(s => {{ {source} }});", limits=Limits(log_payload_mb=0.5))
    assert (result.status, result.error_type) == ("failed", "JobError"), result.error
    assert len(msgspec.json.encode(result.error)) < 1_000_000
