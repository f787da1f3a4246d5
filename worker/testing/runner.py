"""Runs cases: on a stage those that come to no real code, the others in processes."""

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
from worker.testing.schedule import Turn, play


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """A case that ran: what was not as expected, and how many seconds it took."""

    case: Case
    results: tuple[Result, ...]
    mismatches: tuple[str, ...]
    seconds: float


async def run_cases(cases: Sequence[Case], jobs: int) -> AsyncIterator[CaseResult]:
    """Run cases, ``jobs`` of them at once; the verdicts come in the order of the cases."""
    async with Pool(size=jobs) as pool:
        stage = InProcessRunner(pool, asyncio.get_running_loop())
        try:
            staged = await asyncio.to_thread(lambda: [_staged(stage, case) for case in cases])
        finally:
            stage.close()
        real = [
            None if verdict else asyncio.create_task(_run(pool, case))
            for case, verdict in zip(cases, staged, strict=True)
        ]
        for verdict, task in zip(staged, real, strict=True):
            if found := verdict or (await task if task else None):
                yield found


def _staged(stage: InProcessRunner, case: Case) -> CaseResult | None:
    """The verdict on a case that came to no real code; else none."""
    try:
        return _judged(case, stage.run)
    except NeedsSandbox:
        return None


async def _run(pool: Pool, case: Case) -> CaseResult:
    began = time.perf_counter()
    due = play(case)
    turn = next(due)
    while True:
        result = await pool.run(
            case.workflow, turn.input, turn.options, run_id=turn.run_id, host=turn.host
        )
        try:
            turn = due.send(result)
        except StopIteration as end:
            return _verdict(case, end.value, began)


def run_case(case: Case) -> CaseResult:
    """Run one case, from code that has no event loop. The processes stay warm for the next."""
    return _staged(_stage(), case) or _judged(case, _isolated)


def _judged(case: Case, run: Callable[[Turn], Result]) -> CaseResult:
    began = time.perf_counter()
    return _verdict(case, _played(case, run), began)


def _verdict(case: Case, results: tuple[Result, ...], began: float) -> CaseResult:
    found = tuple(mismatches(case.workflow, case.expect, results))
    seconds = time.perf_counter() - began
    return CaseResult(case=case, results=results, mismatches=found, seconds=seconds)


def _played(case: Case, run: Callable[[Turn], Result]) -> tuple[Result, ...]:
    due = play(case)
    turn = next(due)
    while True:
        try:
            turn = due.send(run(turn))
        except StopIteration as end:
            results: tuple[Result, ...] = end.value
            return results


def _isolated(turn: Turn) -> Result:
    arguments = (turn.case.workflow, turn.input, turn.options)
    return background().run(*arguments, run_id=turn.run_id, host=turn.host)


@functools.cache
def _stage() -> InProcessRunner:
    kept = background()
    stage = InProcessRunner(kept.pool, kept.loop)
    atexit.register(stage.close)
    return stage
