"""Runner of cases: in this process where every step is scripted, else in the sandbox."""

from __future__ import annotations

import asyncio
import atexit
import functools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from worker.runner.pool import Pool, background
from worker.runner.result import Result
from worker.testing.assertions import mismatches
from worker.testing.case import Case
from worker.testing.in_process import InProcessRunner, NeedsSandbox
from worker.testing.schedule import ScheduledRun, scheduled_runs


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """Runs of a case, the expectations that they do not meet, and the seconds that they took."""

    case: Case
    results: tuple[Result, ...]
    mismatches: tuple[str, ...]
    seconds: float


async def run_cases(cases: Sequence[Case], jobs: int) -> AsyncIterator[CaseResult]:
    """Run cases, ``jobs`` of them at once, and yield their results in the order of the cases."""
    async with Pool(size=jobs) as pool:
        runner = InProcessRunner(pool, asyncio.get_running_loop())
        try:
            # One thread for all: an evaluator of conditions serves one request at a time.
            scripted = await asyncio.to_thread(lambda: [_run_scripted(runner, c) for c in cases])
        finally:
            runner.close()
        tasks = [
            None if result else asyncio.create_task(_run_in_sandbox(pool, case))
            for case, result in zip(cases, scripted, strict=True)
        ]
        for result, task in zip(scripted, tasks, strict=True):
            if completed := result or (await task if task else None):
                yield completed


def _run_scripted(runner: InProcessRunner, case: Case) -> CaseResult | None:
    # There is no telling beforehand which steps a case comes to, so it is tried; a run that comes
    # to real code has had no effects yet, and starts anew in the sandbox.
    try:
        return _run(case, runner.run)
    except NeedsSandbox:
        return None


async def _run_in_sandbox(pool: Pool, case: Case) -> CaseResult:
    began = time.perf_counter()
    runs = scheduled_runs(case)
    run = next(runs)
    while True:
        result = await pool.run(
            case.workflow, run.input, run.options, run_id=run.run_id, host=run.host
        )
        try:
            run = runs.send(result)
        except StopIteration as end:
            return _case_result(case, end.value, began)


def run_case(case: Case) -> CaseResult:
    """Run one case, from code that has no event loop. The processes stay warm for the next."""
    return _run_scripted(_shared_runner(), case) or _run(case, _run_in_background)


def _run(case: Case, run: Callable[[ScheduledRun], Result]) -> CaseResult:
    began = time.perf_counter()
    return _case_result(case, _results(case, run), began)


def _case_result(case: Case, results: tuple[Result, ...], began: float) -> CaseResult:
    texts = tuple(mismatches(case.workflow, case.expect, results))
    seconds = time.perf_counter() - began
    return CaseResult(case=case, results=results, mismatches=texts, seconds=seconds)


def _results(case: Case, run: Callable[[ScheduledRun], Result]) -> tuple[Result, ...]:
    runs = scheduled_runs(case)
    scheduled = next(runs)
    while True:
        try:
            scheduled = runs.send(run(scheduled))
        except StopIteration as end:
            results: tuple[Result, ...] = end.value
            return results


def _run_in_background(run: ScheduledRun) -> Result:
    arguments = (run.case.workflow, run.input, run.options)
    return background().run(*arguments, run_id=run.run_id, host=run.host)


@functools.cache
def _shared_runner() -> InProcessRunner:
    shared = background()
    runner = InProcessRunner(shared.pool, shared.loop)
    # Before the pool is closed, which was registered first: exit handlers run in reverse order.
    atexit.register(runner.close)
    return runner
