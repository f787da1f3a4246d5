"""What commands cost that are used by hand: run, explore and lint."""

from __future__ import annotations

import contextlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import worker
from bench.graphs import STEP
from bench.table import row
from worker.explore.explorer import Explorer, count_runs, decision_table
from worker.lint.checks import lint
from worker.runner.prepare import Options
from worker.runner.restarting_evaluator import RestartingEvaluator

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Print the time of each command."""
    took, rows, runs = exploration(10)
    row(
        "`worker explore` of 30 steps, 10 branches",
        f"{took:.2f} s",
        f"{rows} rows for {runs:,} runs",
    )
    row("`worker lint` of a 500-step project", f"{lint_project(500):.2f} s", "50 expressions")
    command = [str(Path(sys.executable).parent / "worker"), "run", "graphs/referral.yaml"]
    bare, bare_cpu = cost(sys.executable, "-c", "pass")
    ours, ours_cpu = cost(*command, "--input", "graphs/referral.input.json")
    row(
        "`worker run` of a referral, wall", f"{ours:.0f} ms", f"python -c pass: {bare:.0f}; aim 110"
    )
    row("`worker run` of a referral, CPU", f"{ours_cpu:.0f} ms", f"python -c pass: {bare_cpu:.0f}")


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
