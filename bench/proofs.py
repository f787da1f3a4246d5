"""What is proved before a workflow is deployed: inputs, mutants and a diff a second, and fuel.

``python -m bench.proofs`` prints these rows alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import worker
from bench.table import row
from worker.cli.watch_cases import CaseWatch
from worker.comparison.versions import diff_versions
from worker.runner.pool import Pool
from worker.testing import CaseResult, fuzz_workflow, load_cases, mutation_test

ROOT = Path(__file__).resolve().parent.parent
SAMPLES: list[dict[str, Any]] = [
    {"data": {"age": n, "kind": kind, "visits": [{"on": f"2025-03-{n:02}", "n": n}] * (n % 3)}}
    for n, kind in zip(range(1, 20), itertools.cycle(["first", "next", "last"]), strict=False)
]
LOOP = "fn(s => { let n = 0; for (let i = 0; i < 2e6; i++) n += i; return { ...s, n }; });"
SMALL = "fn(s => ({ ...s, data: { n: 1 } }));"


def chain(length: int, last: str) -> worker.Workflow:
    """Return steps in a row, each with a condition and a way out."""
    steps: list[dict[str, Any]] = []
    for n in range(length):
        condition = last if n == length - 2 else f"state.data.x{n % 7} > {n % 5}"
        targets = {f"s{n + 1}": condition, "failed": "on_job_failure"} if n < length - 1 else {}
        steps.append({"id": f"s{n}", "adaptor": "common", "expression": SMALL, "next": targets})
    steps.append({"id": "failed", "adaptor": "common", "expression": SMALL})
    return worker.load({"workflow": {"name": "chain", "steps": steps}})


def inputs() -> None:
    workflow = worker.load(ROOT / "graphs/referral.yaml")
    campaign = fuzz_workflow(workflow, SAMPLES, inputs=600, seconds=60, jobs=2)
    row("fuzz: inputs a second, two processes", f"{campaign.inputs / campaign.seconds:.0f} /s")


def mutants() -> None:
    cases = load_cases(ROOT / "graphs/triage.cases.yaml")
    began = time.perf_counter()
    result = mutation_test(cases, jobs=2)
    took_s = time.perf_counter() - began
    number = result.killed + result.equal + len(result.survivors)
    row(
        "mutants a second", f"{number / took_s:.0f} /s", f"{number} of a sample, {len(cases)} cases"
    )


def diffs() -> None:
    for length in (50, 100):
        old, new = chain(length, "state.data.z > 5"), chain(length, "state.data.z >= 5")
        diff_versions(old, old)
        began = time.perf_counter()
        diff = diff_versions(old, new)
        took_s = time.perf_counter() - began
        assert diff.differs
        compared = "aim 1 s" if length == 50 else ""
        row(f"diff of {length} steps", f"{took_s:.2f} s", compared)


async def watch() -> None:
    """Print the time from a saved job to the result of its case."""
    times, results = [], list[CaseResult]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in (*ROOT.glob("graphs/referral*"), *ROOT.glob("graphs/triage*")):
            (shutil.copytree if file.is_dir() else shutil.copy)(file, folder / file.name)
        cases = folder / "triage.cases.yaml"
        async with Pool(size=2) as pool:
            watching = CaseWatch(pool, [cases], "", results.append)
            with contextlib.redirect_stdout(io.StringIO()):
                await watching.run([cases])
                changes = watching.folders.changes()
                for number in range(10):
                    began = time.perf_counter()
                    text = cases.read_text("utf-8") + f"\n# {number}"
                    cases.write_text(text, "utf-8")
                    await watching.run(watching.concerned(await anext(changes)))
                    times.append(time.perf_counter() - began)
    row("watch: from a saved file to its results", f"{statistics.median(times) * 1000:.0f} ms",
        f"{len(results) // 11} cases, aim 200 ms for one")  # fmt: skip


async def fuel() -> None:
    """Print what counting costs, in turns, so that a busy machine slows both alike."""
    for name, source, count in (("a loop", LOOP, 8), ("a short run", SMALL, 300)):
        workflow = worker.load({"steps": [{"id": "a", "adaptor": "common", "expression": source}]})
        times: dict[bool, list[float]] = {False: [], True: []}
        async with Pool(size=1) as pool:
            for _ in range(count):
                for counted, measured in times.items():
                    began = time.perf_counter()
                    await pool.run(workflow, {}, fuel=counted)
                    measured.append(time.perf_counter() - began)
        plain_s, counted_s = (statistics.median(measured) for measured in times.values())
        figure = f"{counted_s / plain_s:.2f} x"
        row(f"price of fuel: {name}", figure, f"{plain_s * 1000:.1f} ms without")


def main() -> None:
    inputs()
    mutants()
    diffs()
    asyncio.run(watch())
    asyncio.run(fuel())


if __name__ == "__main__":
    main()
