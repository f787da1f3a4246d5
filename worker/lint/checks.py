"""Linter of workflows: common mistakes with edges, conditions, adaptors and names.

Most checks read the workflow alone. For conditions this is not enough: each is evaluated in the
sandbox, over the state that a failed step passes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from worker.adaptors.choose import choose_adaptors
from worker.errors import PlanError
from worker.lint.edge_checks import check_conditions, check_failures, check_plan, check_reach
from worker.lint.file_checks import check_file, check_triggers
from worker.lint.findings import Finding, unsuppressed
from worker.lint.job_checks import check_adaptors, check_code
from worker.lint.probes import evaluate_conditions, names_of_jobs
from worker.lint.subject import Names, Subject
from worker.runner.pool import Pool, background
from worker.runner.prepare import compiled_job
from worker.workflow.documents.document import read_text
from worker.workflow.load import load_all
from worker.workflow.model import Workflow

Check = Callable[[Subject], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    *(check_file, check_triggers, check_plan, check_reach, check_failures),
    *(check_conditions, check_adaptors, check_code),
)


def lint(file: Path, workflow: str | None = None) -> list[Finding]:
    """Check the workflows of a file, or the one that is named, in the order of its lines.

    Suppressed findings are left out. Raises :class:`worker.errors.LoadError` where the file cannot
    be read.
    """
    workflows = load_all(file, workflow=workflow, located=True)
    shared = background()
    call = lint_loaded(shared.pool, workflows)
    findings = asyncio.run_coroutine_threadsafe(call, shared.loop).result()
    return without_suppressed(workflows, findings)


def without_suppressed(workflows: Sequence[Workflow], findings: Iterable[Finding]) -> list[Finding]:
    """Leave out the findings that comments in the files suppress, and sort the others."""
    by_file: dict[str, list[Finding]] = {loaded.file: [] for loaded in workflows}
    for finding in dict.fromkeys(findings):
        by_file[finding.file].append(finding)
    return [item for name, group in by_file.items() for item in _unsuppressed(name, group)]


def _unsuppressed(file: str, findings: list[Finding]) -> list[Finding]:
    # A pipe cannot be read twice: its comments are not seen.
    is_file = Path(file).is_file()
    return unsuppressed(findings, read_text(Path(file)).splitlines() if is_file else (), file)


async def lint_loaded(pool: Pool, workflows: Sequence[Workflow]) -> list[Finding]:
    """Check workflows that were loaded with the positions of their values."""
    names = await names_of_jobs(pool)
    return [item for workflow in workflows for item in await _lint(pool, workflow, names)]


async def _lint(pool: Pool, workflow: Workflow, names: Names) -> list[Finding]:
    adaptors = choose_adaptors(workflow)
    probes = await evaluate_conditions(pool, workflow)
    subject = Subject(
        workflow=workflow,
        names=names,
        adaptors=adaptors,
        shared=_shared_names(workflow),
        probes=probes,
    )
    return [finding for check in CHECKS for finding in check(subject)]


def _shared_names(workflow: Workflow) -> frozenset[str]:
    if not workflow.globals.strip():
        return frozenset()
    try:
        return frozenset(compiled_job(workflow.globals).exports)
    except PlanError:
        return frozenset()
