"""Campaign: generated inputs run in a pool, and those with new endings are simplified."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from worker.core.status import Status
from worker.errors import WorkerError
from worker.fuzzing.deviations import literals_of
from worker.fuzzing.endings import RunEnding, ending_of, features_of
from worker.fuzzing.search import Input, Search
from worker.fuzzing.shrink import simpler, size_of
from worker.runner.pool import Pool
from worker.runner.result import Result
from worker.testing.case import Case
from worker.testing.case_runner import run_in_order
from worker.testing.in_process import InProcessRunner

# Small enough to stop soon after the time is up; the same whatever the number of jobs is, as what a
# batch brings decides the next.
_BATCH = 16
_SHRINK_BATCH = 16
_SHRINK_RUNS_LIMIT = 400
# Part of the seconds of a campaign for new inputs; the rest makes those that count simpler.
_SEARCH_PART = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """Input whose run ends in a way that no sample's run does.

    ``origin`` describes how it was made, ``input`` is the simplest one with the same ending.
    """

    ending: RunEnding
    origin: tuple[str, ...]
    input: Input

    @property
    def is_problem(self) -> bool:
        """True if the run does not succeed."""
        return self.ending.status is not Status.SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResult:
    """Discoveries, those that fail first, then the simplest first; and what they took.

    Where it was ``stopped`` early, there may be more, and simpler inputs of these.
    """

    discoveries: tuple[Discovery, ...]
    sample_endings: tuple[RunEnding, ...]
    inputs: int
    seconds: float
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """End of a campaign: seconds, and a number of inputs (``None``: as many as they allow).

    With a number of inputs, the seconds do not limit what makes inputs simpler: a campaign that
    ends by its inputs is the same on every machine.
    """

    seconds: float
    inputs: int | None = None

    @property
    def search_s(self) -> float:
        """The seconds for new inputs."""
        return self.seconds if self.inputs is not None else self.seconds * _SEARCH_PART

    @property
    def shrink_s(self) -> float:
        """The seconds from the beginning after which no input is made simpler."""
        return math.inf if self.inputs is not None else self.seconds


async def run_campaign(
    template: Case,
    samples: Sequence[Input],
    budget: Budget,
    *,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[], object] = lambda: None,
    stop: asyncio.Event | None = None,
) -> CampaignResult:
    """Run generated inputs in the place of the template's, until the budget is used up.

    ``progress`` is called after each input. ``stop`` ends the campaign at once: what runs is
    cancelled, and what was discovered is returned as it is. The inputs are the same for a seed; a
    budget of seconds ends them earlier or later.
    """
    search = Search(samples, literals_of(template.workflow), seed)
    stop = stop or asyncio.Event()
    began = time.monotonic()
    async with Pool(size=jobs) as pool:
        runner = InProcessRunner(pool, asyncio.get_running_loop())
        try:
            runs = _Runs(template, pool, runner, stop)
            inputs = await _explore(search, runs, budget, began, progress)
            discoveries = [
                await _simplest(
                    runs, ending, generated.origin, generated.input, began + budget.shrink_s
                )
                for ending, generated in search.new_endings
            ]
        finally:
            await asyncio.to_thread(runner.close)
    return CampaignResult(
        discoveries=tuple(sorted(discoveries, key=_order)),
        sample_endings=tuple(end for end, item in search.endings.items() if item.is_sample),
        inputs=inputs,
        seconds=time.monotonic() - began,
        stopped=stop.is_set(),
    )


def _order(discovery: Discovery) -> tuple[bool, tuple[int, str]]:
    return not discovery.is_problem, size_of(discovery.input)


async def _explore(
    search: Search, runs: _Runs, budget: Budget, began: float, progress: Callable[[], object]
) -> int:
    count = 0
    while time.monotonic() - began < budget.search_s:
        left = _BATCH if budget.inputs is None else min(_BATCH, budget.inputs - count)
        batch = search.next_batch(left)
        if not batch:
            break
        results = await runs.run([item.input for item in batch])
        if results is None:
            break
        for item, result in zip(batch, results, strict=True):
            ending = ending_of(result, item.input)
            search.observe(item, ending, features_of(result, ending))
            progress()
        count += len(batch)
    return count


async def _simplest(
    runs: _Runs, ending: RunEnding, origin: tuple[str, ...], input: Input, until: float
) -> Discovery:
    left = _SHRINK_RUNS_LIMIT
    candidates = simpler(input)
    while batch := [item for item, _ in zip(candidates, range(_SHRINK_BATCH), strict=False)]:
        results = await runs.run(batch)
        if results is None:
            break
        pairs = zip(batch, results, strict=True)
        smaller = (item for item, result in pairs if ending_of(result, item) == ending)
        if (best := next(smaller, None)) is not None:
            input, candidates = best, simpler(best)
        left -= len(batch)
        if left <= 0 or time.monotonic() > until:
            break
    return Discovery(ending=ending, origin=origin, input=input)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs of a template with other inputs."""

    template: Case
    pool: Pool
    runner: InProcessRunner
    stop: asyncio.Event

    async def run(self, inputs: Sequence[Input]) -> list[Result] | None:
        """Run inputs and return their results; None where the campaign is stopped meanwhile."""
        work = asyncio.create_task(self._run(inputs))
        stopping = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
            return None if stopping.done() else work.result()
        finally:
            work.cancel()
            stopping.cancel()
            await asyncio.gather(work, stopping, return_exceptions=True)

    async def _run(self, inputs: Sequence[Input]) -> list[Result]:
        cases = [replace(self.template, input=input) for input in inputs]
        results = []
        async with aclosing(run_in_order(self.pool, self.runner, cases)) as outcomes:
            async for outcome in outcomes:
                if not outcome.results:
                    raise WorkerError(f"an input could not be run: {outcome.mismatches[0]}")
                results.append(outcome.results[-1])
        return results
