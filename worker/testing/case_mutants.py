"""Mutants of what happens to a workflow: errors of another class, and retries that are removed.

The workflow stays as it is; its cases are changed. So these show whether the cases look at what
becomes of a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import msgspec

from worker.core.scripted import ScriptedStep
from worker.core.status import Status, status_of
from worker.explore.explorer import Ending, error_of
from worker.runner.result import PathEntry
from worker.testing.case import Case, RetryPolicy
from worker.workflow.model import Workflow

RunPath = tuple[PathEntry, ...]
_STATUSES = {Ending.FAILS: Status.FAILED, Ending.CRASHES: Status.CRASHED}
_OPPOSITE = {Ending.FAILS: Ending.CRASHES, Ending.CRASHES: Ending.FAILS}


@dataclass(frozen=True, slots=True)
class ErrorMutant:
    """Workflow whose step ``step`` crashes where it failed before, or fails where it crashed.

    ``before`` is its ending in the workflow.
    """

    step: str
    workflow: Workflow
    before: Ending

    @property
    def after(self) -> Ending:
        return _OPPOSITE[self.before]

    @property
    def name(self) -> str:
        return f"{self.step} {self.after} where it {self.before}"

    def change(self, case: Case, paths: Sequence[RunPath]) -> Case | None:
        """Change a case whose runs took these paths; ``None`` if the step did not end so in it."""
        execution = _first_execution(self.step, _STATUSES[self.before], paths)
        if execution is None:
            return None
        error = error_of(self.after)
        scripted = ScriptedStep(first=execution, last=execution, error=error)
        # The first script that covers an execution counts. Where the run now goes on, a later
        # execution that is scripted to end as before is changed too.
        later = (
            msgspec.structs.replace(step, error=error) if self._changes(step) else step
            for step in case.script.get(self.step, ())
        )
        return replace(case, script={**case.script, self.step: (scripted, *later)})

    def _changes(self, step: ScriptedStep) -> bool:
        return step.error is not None and status_of(step.error.type) is _STATUSES[self.before]


@dataclass(frozen=True, slots=True)
class RetryMutant:
    """Workflow whose runs are not retried."""

    workflow: Workflow
    name: str = "retries removed"

    def change(self, case: Case, paths: Sequence[RunPath]) -> Case | None:
        """Change a case whose runs took these paths; ``None`` if none of them is of a retry."""
        if not case.retry.times or len(paths) < 2:
            return None
        return replace(case, retry=RetryPolicy())


CaseMutant = ErrorMutant | RetryMutant


def case_mutants_of(cases: Sequence[Case]) -> Iterator[CaseMutant]:
    """Yield the mutants of the cases of one workflow: of the errors of steps, and of retries."""
    workflow = cases[0].workflow
    for step in workflow.steps:
        if step.runs_code:
            yield from (ErrorMutant(step.id, workflow, before) for before in _OPPOSITE)
    if any(case.retry.times for case in cases):
        yield RetryMutant(workflow)


def _first_execution(step: str, status: Status, paths: Sequence[RunPath]) -> int | None:
    """Find the number of the step's first execution with a status, over all runs of a case."""
    executions = Counter[str]()
    for entry in (entry for path in paths for entry in path):
        if entry.step == step and entry.outcome == status:
            return executions[step]
        executions[entry.step] += 1
    return None
