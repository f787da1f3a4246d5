"""Runner of cases: in this process where every step is scripted, else in the sandbox."""

from __future__ import annotations

import asyncio
import atexit
import functools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from worker.runner.parallel import Handler, LocalExecutor, WorkExecutor
from worker.runner.pool import Pool, background
from worker.runner.result import Result
from worker.sinks.terminal_text import printable
from worker.testing.assertions import mismatches
from worker.testing.case import Case
from worker.testing.in_process import InProcessRunner, NeedsSandbox
from worker.testing.schedule import CaseRuns, ScheduledRun, scheduled_runs
from worker.testing.trigger_check import refusal_mismatches, response_mismatches

# Processor time of one case, as measured: it decides how many processes are worth their start.
_SCRIPTED_S = 0.0002
_REAL_CODE_S = 0.001

# Scripted cases that run before the first of them is reported.
_SLICE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """Runs of a case, the expectations that they do not meet, and the seconds that they took.

    ``collections`` are the values by name and key after all runs.
    """

    case: Case
    results: tuple[Result, ...]
    mismatches: tuple[str, ...]
    seconds: float
    collections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def cost(self) -> int | None:
        """The instructions of all runs; ``None`` where they were not counted."""
        costs = [result.cost for result in self.results if result.cost is not None]
        return sum(costs) if costs else None


# --- many cases -----------------------------------------------------------------------------------


async def run_cases(cases: Sequence[Case], jobs: int) -> AsyncIterator[CaseResult]:
    """Run cases, ``jobs`` of them at once, and yield their results in the order of the cases."""
    async with _open_runner(jobs) as run:
        async for result in run(cases):
            yield result


async def run_cases_in_parallel(
    cases: Sequence[Case], executor: int | WorkExecutor, *, keep_runs: bool
) -> AsyncGenerator[CaseResult, None]:
    """Run cases like :func:`run_cases`, but many of them in processes of their own.

    ``executor`` is a number of processes, or what executes instead of them. Without ``keep_runs``,
    the results of the runs are left out.
    """
    work = _CaseWork(tuple(cases), keep_runs)
    if isinstance(executor, int):
        executor = LocalExecutor(executor)
    outcomes = executor.results_in_order(work, range(len(cases)), _estimate_s(cases))
    async with aclosing(outcomes):
        left = iter(cases)
        async for runs, texts, seconds in outcomes:
            yield CaseResult(
                case=next(left),
                results=runs.results,
                mismatches=texts,
                seconds=seconds,
                collections=runs.collections,
            )


def _estimate_s(cases: Sequence[Case]) -> float:
    return sum(_SCRIPTED_S if _is_scripted(case) else _REAL_CODE_S for case in cases)


def _is_scripted(case: Case) -> bool:
    return all(step.id in case.script for step in case.workflow.steps if step.runs_code)


# The fields of a CaseResult without the case itself, which the receiver has.
_Outcome = tuple[CaseRuns, tuple[str, ...], float]
_NO_RUNS = CaseRuns(results=(), collections={})


@dataclass(frozen=True, slots=True)
class _CaseWork:
    """Cases as parallel work. Its items are indices, as cases of a file share one workflow."""

    cases: tuple[Case, ...]
    # To send the events of a scripted run to another process costs as much as the run itself.
    keep_runs: bool

    @asynccontextmanager
    async def open(self, slots: int) -> AsyncIterator[Handler[int, _Outcome]]:
        async with _open_runner(slots) as run:

            async def handle(indices: Sequence[int]) -> AsyncIterator[_Outcome]:
                async for result in run([self.cases[index] for index in indices]):
                    runs = CaseRuns(results=result.results, collections=result.collections)
                    yield runs if self.keep_runs else _NO_RUNS, result.mismatches, result.seconds

            yield handle

    def lost(self, item: int, cause: str) -> _Outcome:
        return _NO_RUNS, (f"the process that ran the case {cause}",), 0.0


@asynccontextmanager
async def _open_runner(slots: int) -> AsyncIterator[Handler[Case, CaseResult]]:
    async with Pool(size=slots) as pool:
        runner = InProcessRunner(pool, asyncio.get_running_loop())
        try:
            yield functools.partial(run_in_order, pool, runner)
        finally:
            runner.close()


async def run_in_order(
    pool: Pool, runner: InProcessRunner, cases: Sequence[Case]
) -> AsyncGenerator[CaseResult, None]:
    """Run cases with this pool and this runner, and yield their results in order."""
    for start in range(0, len(cases), _SLICE):
        part = cases[start : start + _SLICE]
        # One thread for all: an evaluator of conditions serves one request at a time.
        scripted = await asyncio.to_thread(_run_all_scripted, runner, part)
        tasks = [
            None if result else asyncio.create_task(_run_in_sandbox_or_fail(pool, case))
            for case, result in zip(part, scripted, strict=True)
        ]
        for result, task in zip(scripted, tasks, strict=True):
            if completed := result or (await task if task else None):
                yield completed


def _run_all_scripted(runner: InProcessRunner, cases: Sequence[Case]) -> list[CaseResult | None]:
    return [_run_scripted_or_fail(runner, case) for case in cases]


def _run_scripted_or_fail(runner: InProcessRunner, case: Case) -> CaseResult | None:
    try:
        return _run_scripted(runner, case)
    except Exception as error:
        return _not_run(case, error)


async def _run_in_sandbox_or_fail(pool: Pool, case: Case) -> CaseResult:
    try:
        return await _run_in_sandbox(pool, case)
    except Exception as error:
        return _not_run(case, error)


def _not_run(case: Case, error: Exception) -> CaseResult:
    # A case that cannot run must not end those after it.
    text = printable(f"the case could not be run: {type(error).__name__}: {error}")
    return CaseResult(case=case, results=(), mismatches=(text,), seconds=0.0)


def _run_scripted(runner: InProcessRunner, case: Case) -> CaseResult | None:
    # Here, as this runs in a thread without an event loop: a filter is evaluated in the sandbox.
    if (refused := refusal_mismatches(case)) is not None:
        return CaseResult(case=case, results=(), mismatches=refused, seconds=0.0)
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


# --- one case -------------------------------------------------------------------------------------


def run_case(case: Case) -> CaseResult:
    """Run one case, from code that has no event loop. The processes stay warm for the next."""
    return _run_scripted(_shared_runner(), case) or _run(case, _run_in_background)


def _run(case: Case, run: Callable[[ScheduledRun], Result]) -> CaseResult:
    began = time.perf_counter()
    return _case_result(case, _results(case, run), began)


def _case_result(case: Case, runs: CaseRuns, began: float) -> CaseResult:
    texts = (
        *mismatches(case.workflow, case.expect, runs.results, runs.collections),
        *response_mismatches(case, runs.results),
    )
    seconds = time.perf_counter() - began
    return CaseResult(
        case=case,
        results=runs.results,
        mismatches=texts,
        seconds=seconds,
        collections=runs.collections,
    )


def _results(case: Case, run: Callable[[ScheduledRun], Result]) -> CaseRuns:
    runs = scheduled_runs(case)
    scheduled = next(runs)
    while True:
        try:
            scheduled = runs.send(run(scheduled))
        except StopIteration as end:
            completed: CaseRuns = end.value
            return completed


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
