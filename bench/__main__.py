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
from pathlib import Path
from typing import Any

import worker
from bench import (
    backlog,
    bombs,
    cluster,
    confinement,
    engine,
    fleet,
    lightning,
    locales,
    planes,
    proofs,
    recordings,
    replays,
    runners,
    traffic,
    triggers,
)
from bench.cores import one_core
from bench.table import row
from worker.explore.explorer import Explorer, count_runs, decision_table
from worker.lint.checks import lint
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.runner.restarting_evaluator import RestartingEvaluator
from worker.sandbox.limits import Limits
from worker.testing.case import Case
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case, run_cases_in_parallel
from worker.util.cores import usable_cores

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20
LONG_RUN = Options(limits=Limits(timeout_s=300))
STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"


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
    """Return the cases a second, with this process and its evaluator on one core."""
    with tempfile.TemporaryDirectory() as folder, one_core():
        cases = load_scripted_cases(Path(folder), count)
        run_case(cases[0])
        began = time.perf_counter()
        assert not any(run_case(case).mismatches for case in cases)
        return count / (time.perf_counter() - began)


async def parallel_cases(count: int, jobs: int) -> float:
    """Return the cases a second of `worker test`, with the start of its processes."""
    with tempfile.TemporaryDirectory() as folder:
        cases = load_scripted_cases(Path(folder), count)
        began = time.perf_counter()
        results = run_cases_in_parallel(cases, jobs, keep_runs=False)
        async with contextlib.aclosing(results):
            assert not any([result.mismatches async for result in results])
        return count / (time.perf_counter() - began)


def load_scripted_cases(folder: Path, count: int) -> list[Case]:
    """Write a workflow and its cases, and load them."""
    next = {"a": {"b": "on_job_success", "x": "on_job_failure"},
            "b": {"c": {"condition": "state.data.ok"}, "x": {"condition": "!state.data.ok"}}}  # fmt: skip
    steps = [
        {"id": id, "expression": STEP, "adaptor": "common", "next": next.get(id)} for id in "abcx"
    ]
    CASES["cases"][0]["matrix"]["n"] = list(range(count))  # type: ignore[index]
    (folder / "w.json").write_text(json.dumps({"steps": steps}))
    file = folder / "w.cases.json"
    file.write_text(json.dumps(CASES))
    return load_cases(file)


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


async def run_s(pool: Pool, graph: worker.Workflow) -> float:
    """Return the seconds that a run takes."""
    began = time.perf_counter()
    result = await pool.run(graph, {}, LONG_RUN)
    assert result.status == "success", result.error
    return time.perf_counter() - began


async def graphs() -> None:
    """Print what long graphs cost, and how that grows."""
    async with Pool(size=1) as pool:
        await pool.run(chain(3), {})
        for name, make in (("chain", chain), ("star", star)):
            small, large = make(5_000), make(100_000)
            short, long = [await run_s(pool, graph) for graph in (small, large)]
            row(f"5,000-step {name}", f"{short:.2f} s", "aim 0.4; OpenFn 22.6 / 29.7")
            row(
                f"100,000-step {name}",
                f"{long:.1f} s",
                f"aim 10; {long / short:.1f} x for 20 x the steps (aim 11 x for 10 x)",
            )


async def main() -> None:
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}\n"
    )
    await graphs()
    rate = await asyncio.to_thread(scripted_cases, 4000)
    row("scripted cases on one core", f"{rate:.0f} /s", "3 of 4 steps run, 2 conditions; aim 5,000")
    cores = usable_cores()
    in_turn, shared = [await parallel_cases(9000, jobs) for jobs in (1, cores)]
    row(
        f"9,000 scripted cases, {cores} processes",
        f"{shared:.0f} /s",
        f"in turn {in_turn:.0f}; {shared / in_turn:.1f} x, the starts included",
    )
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
    asyncio.run(runners.main())
    asyncio.run(confinement.main())
    bombs.main()
    engine.main()
    asyncio.run(main())
    recordings.main(row)
    replays.main(row)
    cluster.main(row)
    locales.main(row)
    proofs.main()
    fleet.main(row, worker.load)
    planes.main(row)
    backlog.main(row)
    triggers.main(row)
    asyncio.run(traffic.main())
    asyncio.run(lightning.main())
