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
from enum import Enum, StrEnum, auto
from pathlib import Path

from worker.comparison.lockstep import Scenario
from worker.comparison.versions import Baseline
from worker.errors import LoadError
from worker.runner.parallel import Handler, results_in_order
from worker.runner.pool import Pool
from worker.testing.case import Case
from worker.testing.case_mutants import (
    CaseMutant,
    ErrorMutant,
    RetryMutant,
    RunPath,
    case_mutants_of,
)
from worker.testing.case_runner import CaseResult, run_in_order
from worker.testing.in_process import InProcessRunner
from worker.testing.mutants import Mutant, mutants_of
from worker.util.whole_files import write_whole
from worker.version import VERSION
from worker.workflow.documents.document import parse_json, read_text
from worker.workflow.model import Workflow

# Processor time of a mutant, as measured: the start of what evaluates its conditions, and a case.
_MUTANT_S = 0.05


class Verdict(StrEnum):
    """Result of the cases on a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class MutantResult:
    """Verdict on a mutant, with the shortest scenario that would kill a survivor.

    There is none for retries, which no scenario has.
    """

    mutant: Mutant | CaseMutant
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


class _Trial(Enum):
    """Result of the cases on a mutant: noticed, not noticed, or no case has what it changes."""

    NOTICED = auto()
    UNNOTICED = auto()
    NEVER_TRIED = auto()


def all_mutants(cases: Sequence[Case]) -> list[Mutant | CaseMutant]:
    """List the mutants for the cases of one workflow."""
    return [*mutants_of(cases[0].workflow), *case_mutants_of(cases)]


async def run_mutants(
    mutants: Sequence[Mutant | CaseMutant], cases: Sequence[Case], jobs: int, known: KilledBefore
) -> AsyncGenerator[MutantResult, None]:
    """Run the cases of a workflow on its mutants, and yield the results in order.

    A mutant that is in ``known`` is not run again.
    """
    left = [mutant for mutant in mutants if mutant not in known]
    work = _MutantWork(tuple(left), tuple(cases))
    outcomes = results_in_order(work, range(len(left)), jobs, _MUTANT_S * len(left))
    with closing(_Survivors(cases[0].workflow)) as survivors:
        async with aclosing(outcomes):
            for mutant in mutants:
                trial = _Trial.NOTICED if mutant in known else await anext(outcomes)
                if trial is _Trial.NOTICED:
                    known.add(mutant)
                    yield MutantResult(mutant=mutant, verdict=Verdict.KILLED)
                else:
                    yield survivors.result(mutant, trial)


class _Survivors:
    """Comparisons of a workflow with the mutants that no case notices."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._baseline: Baseline | None = None

    def result(self, mutant: Mutant | CaseMutant, trial: _Trial) -> MutantResult:
        """Decide whether a mutant survived, or is equal."""
        if isinstance(mutant, RetryMutant):
            is_equal, scenario = trial is _Trial.NEVER_TRIED, None
        else:
            scenario = self._scenario(mutant)
            is_equal = scenario is None
        verdict = Verdict.EQUAL if is_equal else Verdict.SURVIVED
        return MutantResult(mutant=mutant, verdict=verdict, scenario=scenario)

    def _scenario(self, mutant: Mutant | ErrorMutant) -> Scenario | None:
        if self._baseline is None:
            self._baseline = Baseline(self._workflow)
        if isinstance(mutant, ErrorMutant):
            return self._baseline.compare_endings(mutant.step, mutant.before, mutant.after)
        return next(iter(self._baseline.diff(mutant.workflow).comparison.scenarios), None)

    def close(self) -> None:
        if self._baseline is not None:
            self._baseline.close()


@dataclass(frozen=True, slots=True)
class _MutantWork:
    """Mutants as parallel work; its items are indices of mutants."""

    mutants: tuple[Mutant | CaseMutant, ...]
    cases: tuple[Case, ...]

    @asynccontextmanager
    async def open(self, slots: int) -> AsyncIterator[Handler[int, _Trial]]:
        async with Pool(size=slots) as pool:
            tester = _MutantTester(pool, self.cases)

            async def handle(indices: Sequence[int]) -> AsyncIterator[_Trial]:
                for index in indices:
                    yield await tester.test(self.mutants[index])

            yield handle

    def lost(self, item: int, cause: str) -> _Trial:
        # Cases that end the process that runs them do notice the mutant.
        return _Trial.NOTICED


class _MutantTester:
    """Runs of the cases on one mutant after the other."""

    def __init__(self, pool: Pool, cases: Sequence[Case]) -> None:
        self._pool, self._cases = pool, cases
        # The paths of the runs of each unchanged case, by its index: all case mutants need them.
        self._paths: dict[int, list[RunPath]] = {}

    async def test(self, mutant: Mutant | CaseMutant) -> _Trial:
        trial = _Trial.NEVER_TRIED
        # A runner of its own: one keeps a process for the conditions of each of its workflows.
        with closing(InProcessRunner(self._pool, asyncio.get_running_loop())) as runner:
            for index in range(len(self._cases)):
                mutated = await self._mutated(runner, mutant, index)
                if mutated is None:
                    continue
                trial = _Trial.UNNOTICED
                if (await _run(self._pool, runner, mutated)).mismatches:
                    return _Trial.NOTICED
        return trial

    async def _mutated(
        self, runner: InProcessRunner, mutant: Mutant | CaseMutant, index: int
    ) -> Case | None:
        case = self._cases[index]
        if isinstance(mutant, Mutant):
            return replace(case, workflow=mutant.workflow)
        if index not in self._paths:
            done = await _run(self._pool, runner, case)
            self._paths[index] = [result.path for result in done.results]
        return mutant.change(case, self._paths[index])


async def _run(pool: Pool, runner: InProcessRunner, case: Case) -> CaseResult:
    async with aclosing(run_in_order(pool, runner, [case])) as results:
        return await anext(results)


class KilledBefore:
    """Mutants that earlier mutation tests with the same cases killed, kept in a file."""

    def __init__(self, file: Path | None, cases: Sequence[Case]) -> None:
        self._file = file
        self._cases = _digest([VERSION, *(repr(replace(case, line=0)) for case in cases)])
        self._killed: set[str] = set(_read(file).get(self._cases, ()) if file else ())

    def __contains__(self, mutant: Mutant | CaseMutant) -> bool:
        return _digest([mutant.name, repr(mutant.workflow)]) in self._killed

    def add(self, mutant: Mutant | CaseMutant) -> None:
        self._killed.add(_digest([mutant.name, repr(mutant.workflow)]))

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
