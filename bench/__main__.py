"""Prints each figure with what it is compared to; nothing here decides a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import worker
from bench import fleet, locales, recordings, replays
from worker.cli.explore import RestartingEvaluator
from worker.explore.explorer import Explorer, count_runs, decision_table
from worker.lint.checks import lint
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.sandbox.limits import Limits
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20
STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"


def row(name: str, figure: str, compared: str = "") -> None:
    print(f"{name:<48} {figure:>14}  {compared}", flush=True)


def quantile(values: Iterable[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]


def chain(length: int, source: str = STEP) -> worker.Workflow:
    steps: list[dict[str, Any]] = [
        {"id": f"s{i}", "adaptor": "common", "expression": source, "next": {f"s{i + 1}": True}}
        for i in range(length)
    ]
    del steps[-1]["next"]
    return worker.load({"workflow": {"name": "chain", "steps": steps}})


def star(rays: int) -> worker.Workflow:
    job = {"adaptor": "common", "expression": STEP}
    hub: dict[str, Any] = {"id": "hub", **job, "next": {f"s{i}": True for i in range(rays)}}
    leaves = [{"id": f"s{i}", **job} for i in range(rays)]
    return worker.load({"workflow": {"name": "star", "steps": [hub, *leaves]}})


INPUT = {"data": {"patient": {"id": 7, "name": "x" * 900}}}


async def timed(call: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await call()
    return time.perf_counter() - began


async def throughput(pool: Pool, workflow: worker.Workflow, count: int, at_once: int) -> float:
    """Runs a second with ``at_once`` runs under way."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            assert (await pool.run(workflow, INPUT)).status == "success"

    return count / await timed(lambda: asyncio.gather(*(work() for _ in range(at_once))))


def bare_fork(count: int = 200) -> float:
    """Seconds to fork and reap a process that does nothing, from a process of this size."""
    began = time.perf_counter()
    for _ in range(count):
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return (time.perf_counter() - began) / count


def cost(*command: str, count: int = 10) -> tuple[float, float]:
    """The median wall and processor time of a command and its children, in milliseconds."""
    walls, processor = [], []
    for _ in range(count):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        walls.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(walls) * 1000, statistics.median(processor) * 1000


async def overshoot(pool: Pool, count: int = 30) -> list[float]:
    """Measure the milliseconds between a run's time limit and its end, by its own events."""
    workflow = chain(1, "fn(state => { while (true) {} });")
    options = Options(limits=Limits(timeout_s=0.1))
    results = [await pool.run(workflow, {}, options) for _ in range(count)]
    assert all(result.error_type == "TimeoutError" for result in results)
    return [(result.duration / 1e6 - 0.1) * 1000 for result in results]


HOGS = {
    "objects": "const a = []; while (true) a.push({ n: a.length });",
    "strings": "const a = []; while (true) a.push('x'.repeat(1e6) + a.length);",
    "buffers": "const a = []; while (true) a.push(new Uint8Array(1e6).fill(1));",
}


async def out_of_memory(pool: Pool, kind: str, limit: int = 128) -> tuple[float, float]:
    """Seconds until an OomError, and peak resident MB beyond the limit."""
    workflow = chain(1, f"fn(state => {{ {HOGS[kind]} }});")
    began = time.perf_counter()
    result = await pool.run(workflow, {}, Options(limits=Limits(memory_mb=limit)))
    assert result.error_type == "OomError", result.error
    peak = max(getattr(event, "mem", 0) for event in result.events)
    return time.perf_counter() - began, peak / MIB - limit


def resident(pid: int) -> float:
    """A process's resident memory in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def lint_project(steps: int) -> float:
    """Seconds to lint a chain whose every tenth edge is an expression of its own."""
    listed = [
        {"id": f"s{i}", "adaptor": "@openfn/language-common@3.3.4", "expression": STEP,
         "next": {f"s{i + 1}": f"state.data.x{i} > 1" if i % 10 == 0 else "on_job_success"}}
        for i in range(steps)
    ]  # fmt: skip
    del listed[-1]["next"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "project.json"
        file.write_text(json.dumps({"steps": listed}))
        began = time.perf_counter()
        lint(file)
        return time.perf_counter() - began


CASES = {
    "workflow": "w.json",
    "cases": [
        {
            "name": "case ${n}",
            "matrix": {"n": []},
            "steps": {"a": {"returns": {"data": {"ok": True, "n": "${n}"}}}, "b": {}, "c": {}},
            "expect": {"status": "success", "path": ["a", "b", "c"]},
        }
    ],
}


def scripted_cases(count: int) -> float:
    """Measure cases a second, with this process and its condition evaluator on one core."""
    next = {"a": {"b": "on_job_success", "x": "on_job_failure"},
            "b": {"c": {"condition": "state.data.ok"}, "x": {"condition": "!state.data.ok"}}}  # fmt: skip
    steps = [
        {"id": id, "expression": STEP, "adaptor": "common", "next": next.get(id)} for id in "abcx"
    ]
    CASES["cases"][0]["matrix"]["n"] = list(range(count))  # type: ignore[index]
    with tempfile.TemporaryDirectory() as folder, one_core():
        (Path(folder) / "w.json").write_text(json.dumps({"steps": steps}))
        file = Path(folder) / "w.cases.json"
        file.write_text(json.dumps(CASES))
        cases = load_cases(file)
        run_case(cases[0])
        began = time.perf_counter()
        assert not any(run_case(case).mismatches for case in cases)
        return count / (time.perf_counter() - began)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def exploration(branches: int) -> tuple[float, int, int]:
    """Seconds for the table and the count of a chain of diamonds; its rows; its runs."""
    steps: list[dict[str, Any]] = []
    for n in range(branches):
        condition = f"state.data.x{n} > {n}"
        on = {f"b{n + 1}": "on_job_success"} if n + 1 < branches else {}
        steps.append({"id": f"b{n}", "next": {f"l{n}": condition, f"r{n}": f"!({condition})"}})
        steps += [{"id": f"{side}{n}", "next": on} for side in "lr"]
    listed = [{"adaptor": "common", "expression": STEP, **step} for step in steps]
    workflow = worker.load({"workflow": {"name": "diamonds", "steps": listed}})
    began = time.perf_counter()
    with contextlib.closing(RestartingEvaluator(workflow, Options())) as evaluator:
        explorer = Explorer(plan=evaluator.plan, evaluate=evaluator)
        rows, runs = len(decision_table(explorer).rows), count_runs(explorer)
    return time.perf_counter() - began, rows, runs or 0


async def main() -> None:
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}\n"
    )
    three = chain(3)
    async with Pool(size=2) as pool:
        await throughput(pool, three, 50, 2)
        rate = await throughput(pool, three, 1500, 2)
        row("isolated 3-step runs, two at once", f"{rate:.0f} /s", "aim 500; OpenFn's worker 2.15")
        latencies = [await timed(lambda: pool.run(three, INPUT)) * 1000 for _ in range(300)]
        p50, p99 = quantile(latencies, 0.5), quantile(latencies, 0.99)
        row(
            "warm latency of one run, p50 / p99",
            f"{p50:.1f} / {p99:.1f} ms",
            "aim p50 5; OpenFn 618",
        )
        fork = bare_fork() * 1000
        row("a run's cost over a bare fork", f"{p50 / fork:.1f} x", f"fork {fork:.2f} ms")
        for name, graph in (("chain", chain(5000)), ("star", star(5000))):
            took = await timed(lambda graph=graph: pool.run(graph, {}))  # type: ignore[misc]
            row(f"5,000-step {name}", f"{took:.2f} s", "aim 1; OpenFn 22.6 / 29.7")
        times = await overshoot(pool)
        row("timeout overshoot, p99", f"{quantile(times, 0.99):.1f} ms", "aim 10")
        for kind in HOGS:
            took, over = await out_of_memory(pool, kind)
            row(
                f"out of memory at 128 MB: {kind}",
                f"{took:.2f} s",
                f"peak {over:+.0f} MB (aim +32)",
            )
        row(
            "resident memory of the idle zygote",
            f"{resident(pool.zygote_pid):.0f} MB",
            "OpenFn 95 to 132 a child",
        )
    rate = await asyncio.to_thread(scripted_cases, 4000)
    row("scripted cases on one core", f"{rate:.0f} /s", "3 of 4 steps run, 2 conditions; aim 2,000")
    took, rows, runs = await asyncio.to_thread(exploration, 10)
    row(
        "`worker explore` of 30 steps, 10 branches",
        f"{took:.2f} s",
        f"{rows} rows for {runs:,} runs",
    )
    took = await asyncio.to_thread(lint_project, 500)
    row("`worker lint` of a 500-step project", f"{took:.2f} s", "50 expressions")
    command = [str(Path(sys.executable).parent / "worker"), "run", "graphs/referral.yaml"]
    bare, bare_cpu = cost(sys.executable, "-c", "pass")
    ours, ours_cpu = cost(*command, "--input", "graphs/referral.input.json")
    row(
        "`worker run` of a referral, wall", f"{ours:.0f} ms", f"python -c pass: {bare:.0f}; aim 110"
    )
    row("`worker run` of a referral, CPU", f"{ours_cpu:.0f} ms", f"python -c pass: {bare_cpu:.0f}")


if __name__ == "__main__":
    asyncio.run(main())
    recordings.main(row)
    replays.main(row)
    locales.main(row)
    fleet.main(row, worker.load)
