"""Scripted cases a second, on one core and by `worker test` on all of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from pathlib import Path

from bench.cores import one_core
from bench.graphs import STEP
from bench.table import row
from worker.testing.case import Case
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case, run_cases_in_parallel
from worker.util.cores import usable_cores

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


def main() -> None:
    """Print both rates."""
    rate = scripted_cases(4000)
    row("scripted cases on one core", f"{rate:.0f} /s", "3 of 4 steps run, 2 conditions; aim 5,000")
    cores = usable_cores()
    in_turn, shared = [asyncio.run(parallel_cases(9000, jobs)) for jobs in (1, cores)]
    row(
        f"9,000 scripted cases, {cores} processes",
        f"{shared:.0f} /s",
        f"in turn {in_turn:.0f}; {shared / in_turn:.1f} x, the starts included",
    )


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
