"""Mutation test of cases: each mutant of a workflow must fail one of its cases.

A mutant that no case notices is compared with the workflow. Only if some run of it goes another
way does it count as a survivor; otherwise it is equal, and no case can notice it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from worker.comparison.lockstep import Scenario
from worker.comparison.versions import diff_versions
from worker.errors import LoadError
from worker.runner.parallel import Handler, results_in_order
from worker.runner.pool import Pool
from worker.testing.case import Case
from worker.testing.case_runner import run_in_order
from worker.testing.in_process import InProcessRunner
from worker.testing.mutants import Mutant
from worker.util.whole_files import write_whole
from worker.version import VERSION
from worker.workflow.documents.document import parse_json, read_text

# Processor time of a mutant, as measured: the start of what evaluates its conditions, and a case.
_MUTANT_S = 0.05


class Verdict(StrEnum):
    """Result of the cases on a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class MutantResult:
    """Verdict on a mutant, with the shortest scenario that would kill a survivor."""

    mutant: Mutant
    verdict: Verdict
    scenario: Scenario | None = None


@dataclass(frozen=True, slots=True)
class MutationScore:
    """Numbers of mutants by their verdicts."""

    killed: int
    survived: int
    equal: int

    @property
    def percent(self) -> float:
        """Part of the mutants that differ which the cases notice; 100 where there are none."""
        different = self.killed + self.survived
        return 100 * self.killed / different if different else 100.0


def score_of(results: Sequence[MutantResult]) -> MutationScore:
    counts = [sum(result.verdict is verdict for result in results) for verdict in Verdict]
    return MutationScore(*counts)


async def run_mutants(
    mutants: Sequence[Mutant], cases: Sequence[Case], jobs: int, known: KilledBefore
) -> AsyncGenerator[MutantResult, None]:
    """Run the cases of a workflow on its mutants, and yield the results in order.

    A mutant that is in ``known`` is not run again.
    """
    left = [mutant for mutant in mutants if mutant not in known]
    work = _MutantWork(tuple(left), tuple(cases))
    outcomes = results_in_order(work, range(len(left)), jobs, _MUTANT_S * len(left))
    async with aclosing(outcomes):
        for mutant in mutants:
            killed = mutant in known or await anext(outcomes)
            if killed:
                known.add(mutant)
            yield _result(mutant, cases[0], killed=killed)


def _result(mutant: Mutant, case: Case, *, killed: bool) -> MutantResult:
    if killed:
        return MutantResult(mutant=mutant, verdict=Verdict.KILLED)
    scenarios = diff_versions(case.workflow, mutant.workflow).comparison.scenarios
    verdict = Verdict.SURVIVED if scenarios else Verdict.EQUAL
    return MutantResult(
        mutant=mutant, verdict=verdict, scenario=scenarios[0] if scenarios else None
    )


@dataclass(frozen=True, slots=True)
class _MutantWork:
    """Mutants as parallel work; its items are indices of mutants, its results whether killed."""

    mutants: tuple[Mutant, ...]
    cases: tuple[Case, ...]

    @asynccontextmanager
    async def open(self, slots: int) -> AsyncIterator[Handler[int, bool]]:
        async with Pool(size=slots) as pool:

            async def handle(indices: Sequence[int]) -> AsyncIterator[bool]:
                for index in indices:
                    yield await self._is_killed(pool, self.mutants[index])

            yield handle

    async def _is_killed(self, pool: Pool, mutant: Mutant) -> bool:
        # A runner of its own: one keeps a process for the conditions of each of its workflows.
        with closing(InProcessRunner(pool, asyncio.get_running_loop())) as runner:
            for case in self.cases:
                mutated = replace(case, workflow=mutant.workflow)
                async with aclosing(run_in_order(pool, runner, [mutated])) as results:
                    async for result in results:
                        if result.mismatches:
                            return True
        return False

    def lost(self, item: int, cause: str) -> bool:
        # Cases that end the process that runs them do notice the mutant.
        return True


class KilledBefore:
    """Mutants that earlier mutation tests with the same cases killed, kept in a file."""

    def __init__(self, file: Path | None, cases: Sequence[Case]) -> None:
        self._file = file
        self._cases = _digest([VERSION, *(repr(replace(case, line=0)) for case in cases)])
        self._killed: set[str] = set(_read(file).get(self._cases, ()) if file else ())

    def __contains__(self, mutant: Mutant) -> bool:
        return _digest([repr(mutant.workflow)]) in self._killed

    def add(self, mutant: Mutant) -> None:
        self._killed.add(_digest([repr(mutant.workflow)]))

    def save(self) -> None:
        """Write the file, with these cases alone, so that it does not grow."""
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, json.dumps({self._cases: sorted(self._killed)}).encode())


def _read(file: Path) -> Mapping[str, list[str]]:
    try:
        content = parse_json(read_text(file), str(file))
    except LoadError:
        return {}
    return content if isinstance(content, dict) else {}


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()
