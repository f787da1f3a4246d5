"""Mutation test of ``worker test --mutate``: the mutants that no case notices, and the score."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

from worker.cli.progress import progress
from worker.cli.write_case_file import write_case_file
from worker.comparison.describe import describe_ends, describe_scenario
from worker.errors import UsageError
from worker.explore.explorer import ExploredRun
from worker.explore.export_cases import case_file, describe_run
from worker.sinks.terminal_text import one_line, printable
from worker.testing.case import Case
from worker.testing.coverage import rules_of
from worker.testing.mutation import (
    KilledBefore,
    MutantResult,
    Verdict,
    all_mutants,
    run_mutants,
    score_of,
)
from worker.util.cache_folder import root
from worker.workflow.load import workflow_names


def mutate(cases: Sequence[Case], jobs: int, target: Path | None) -> float:
    """Test the cases by mutants of their workflows, print the survivors, and return the score.

    The score is the smallest one of all workflows, in percent. ``target`` gets a case for each
    survivor.
    """
    by_workflow: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        # A workflow that is refused before any step goes the same way whatever its edges are.
        if any(rules_of(case.workflow)):
            by_workflow.setdefault((case.workflow.file, case.workflow.name), []).append(case)
    if target is not None and len(by_workflow) > 1:
        raise UsageError("--write-cases writes the cases of one workflow: test one file of cases")
    scores = [100.0]
    for group in by_workflow.values():
        results = asyncio.run(_run(group, jobs))
        for line in _lines(group[0].workflow.name, results):
            print(line)
        scores.append(score_of(results).percent)
        if target is not None and any(result.scenario for result in results):
            _write_cases(target, group, results)
    return min(scores)


async def _run(cases: Sequence[Case], jobs: int) -> list[MutantResult]:
    mutants = all_mutants(cases)
    name = hashlib.sha256(f"{cases[0].file}\0{cases[0].workflow.name}".encode()).hexdigest()
    known = KilledBefore(root() / "mutants" / f"{name}.json", cases)
    with progress("testing mutants", len(mutants)) as done:
        results = []
        async with aclosing(run_mutants(mutants, cases, jobs, known)) as running:
            async for result in running:
                results.append(result)
                done()
    known.save()
    return results


def _lines(name: str, results: Sequence[MutantResult]) -> Iterator[str]:
    yield ""
    for result in results:
        if result.verdict is Verdict.SURVIVED:
            yield f"✗ no case notices: {one_line(result.mutant.name)}"
        if result.scenario is not None:
            # The workflow is the old version here, and the mutant the new one.
            workflow_end, mutant_end = describe_ends(result.scenario)
            yield f"    {describe_scenario(result.scenario)}"
            yield f"    workflow: {workflow_end}"
            yield f"    mutant:   {mutant_end}"
    score = score_of(results)
    equal = f", {score.equal} change nothing" if score.equal else ""
    survived = f", {score.survived} survived" if score.survived else ""
    yield (
        f"{printable(name)}: mutation score {score.percent:.0f} %"
        f" ({score.killed} killed{survived}{equal})"
    )


def _states(run: ExploredRun) -> tuple[str | None, ...]:
    return tuple(choice.witness for choice in run.choices)


def _write_cases(target: Path, cases: Sequence[Case], results: Sequence[MutantResult]) -> None:
    """Write a case for each survivor: the scenario, with the end that the workflow gives it."""
    workflow = cases[0].workflow
    runs = [result.scenario.old_run.run() for result in results if result.scenario is not None]
    pick = workflow.name if len(workflow_names(workflow.file)) > 1 else None
    # Survivors can share a scenario, and one case kills them all. The states belong to it: of two
    # values on either side of a limit, each kills another mutant.
    rows = list({(describe_run(run), _states(run)): run for run in runs}.values())
    write_case_file(target, lambda name: case_file(workflow, name, rows, pick), Path(workflow.file))
