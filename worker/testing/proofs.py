"""Proofs of a workflow for tests in Python: differences, mutants, and audits of runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from worker.audit.laws import Breach, first_breach
from worker.comparison.definitions import Change
from worker.comparison.describe import describe_ends, describe_scenario
from worker.comparison.lockstep import PAIRS_LIMIT, Scenario
from worker.comparison.versions import diff_versions
from worker.core.events import AnyEvent
from worker.errors import UsageError
from worker.fuzzing.shape import learn
from worker.fuzzing.synthetic import SyntheticInputs
from worker.sinks.terminal_text import one_line
from worker.testing.case import Case
from worker.testing.flaky import Flakiness, find_flakiness
from worker.testing.mutation import (
    KilledBefore,
    MutantResult,
    Verdict,
    all_mutants,
    run_mutants,
)
from worker.workflow.model import Workflow


@dataclass(frozen=True, slots=True)
class Difference:
    """Scenario in which two versions of a workflow differ, and the end of each."""

    when: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.when}: OLD {self.old}; NEW {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowDiff:
    """Differences of two versions of a workflow, the shortest scenario first.

    It is true if there is one, and prints all of them, so that a failing ``assert not`` shows
    them. ``changes`` name the definitions that changed. ``situations`` were looked at; there are
    more if it is not ``complete``.
    """

    scenarios: tuple[Difference, ...]
    changes: tuple[str, ...]
    situations: int
    complete: bool

    def __bool__(self) -> bool:
        return bool(self.scenarios or self.changes)

    # pytest prints the repr of what was asserted; nothing else reaches its report.
    def __repr__(self) -> str:
        lines = [*map(str, self.scenarios), *self.changes]
        return "\n".join(lines) or f"no difference in {self.situations:,} situations"


def diff_workflows(old: Workflow, new: Workflow, *, limit: int = PAIRS_LIMIT) -> WorkflowDiff:
    """Walk two versions of a workflow through every outcome, and return where they differ.

    At most ``limit`` situations are looked at. No step is executed. Raises :class:`UsageError` for
    a version that cannot run.
    """
    diff = diff_versions(old, new, limit=limit)
    renamed = (f"renamed step {was} → {now}" for was, now in diff.renamed.items())
    changed = map(_describe_change, diff.changes)
    return WorkflowDiff(
        scenarios=tuple(map(_difference, diff.comparison.scenarios)),
        changes=(*renamed, *changed),
        situations=diff.comparison.pairs,
        complete=diff.comparison.complete,
    )


def _describe_change(change: Change) -> str:
    text = f"{change.kind} {change.subject} {change.place}"
    # The code of a step is no text for one line.
    if change.kind != "changed" or change.subject in ("code", "step"):
        return text
    return f"{text}: {one_line(change.old)} → {one_line(change.new)}"


def _difference(scenario: Scenario) -> Difference:
    return Difference(describe_scenario(scenario), *describe_ends(scenario))


@dataclass(frozen=True, slots=True)
class Survivor:
    """Mutant that no case notices; ``difference`` is the shortest scenario that shows it.

    The workflow is the old version there, and the mutant the new one. Retries that are removed
    have none.
    """

    name: str
    difference: Difference | None

    def __str__(self) -> str:
        return f"{self.name}: {self.difference}" if self.difference else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class MutationResult:
    """Result of a mutation test; ``equal`` mutants change no run, so that no case can notice them.

    It prints the survivors.
    """

    killed: int
    survivors: tuple[Survivor, ...]
    equal: int

    @property
    def percent(self) -> float:
        """Part of the mutants that differ which the cases notice; 100 where there are none."""
        different = self.killed + len(self.survivors)
        return 100 * self.killed / different if different else 100.0

    def __repr__(self) -> str:
        return "\n".join([f"mutation score {self.percent:.0f} %", *map(str, self.survivors)])


def mutation_test(cases: Sequence[Case], *, jobs: int = 1) -> MutationResult:
    """Run cases of one workflow on each mutant of it, from code without an event loop.

    ``jobs`` processes share the work. Raises :class:`UsageError` for no case, and for cases of
    several workflows.
    """
    if not cases or any(case.workflow != cases[0].workflow for case in cases):
        raise UsageError("cases: expected one or more cases of one workflow")
    results = asyncio.run(_run_mutants(cases, jobs))
    counts = {verdict: sum(r.verdict is verdict for r in results) for verdict in Verdict}
    return MutationResult(
        killed=counts[Verdict.KILLED],
        survivors=tuple(_survivors(results)),
        equal=counts[Verdict.EQUAL],
    )


async def _run_mutants(cases: Sequence[Case], jobs: int) -> list[MutantResult]:
    mutants = all_mutants(cases)
    async with aclosing(run_mutants(mutants, cases, jobs, KilledBefore(None, cases))) as results:
        return [result async for result in results]


def _survivors(results: Iterable[MutantResult]) -> Iterable[Survivor]:
    for result in results:
        if result.verdict is Verdict.SURVIVED:
            difference = None if result.scenario is None else _difference(result.scenario)
            yield Survivor(result.mutant.name, difference)


def find_flaky(cases: Sequence[Case], count: int, *, jobs: int = 1) -> tuple[Flakiness, ...]:
    """Run cases under ``count`` other times, random numbers and delays of replies each.

    Return the first difference of each case that has one, from code without an event loop.
    ``jobs`` processes share the work.
    """

    async def differences() -> tuple[Flakiness, ...]:
        async with aclosing(find_flakiness(cases, count, jobs)) as results:
            return tuple([result async for result in results if result is not None])

    return asyncio.run(differences())


def synthetic_inputs(
    samples: Sequence[Mapping[str, Any]], count: int, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Generate inputs of the samples' shape that hold no text of them.

    They are the same for a ``seed``. Raises :class:`UsageError` for no samples.
    """
    if not samples:
        raise UsageError("samples: expected at least one input")
    generator = SyntheticInputs(learn([dict(sample) for sample in samples]), seed)
    return [generator.next() for _ in range(count)]


def audit_run(events: Sequence[AnyEvent]) -> Breach | None:
    """Return the first event of a run that breaks a rule of runs; ``None`` if none does."""
    return first_breach(events)
