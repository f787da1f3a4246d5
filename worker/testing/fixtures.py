"""A workflow under test, for tests written in Python.

def test_referral(workflow):            # @pytest.mark.workflow("graphs/referral.yaml")
    run = workflow.with_step("fetch-patient", fails="JobError", message="404").run(input={})
    assert run.status == "success"
    assert run.took("fetch-patient", "alert-nurse")
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from worker.core.outcome import StepError
from worker.core.scripted import FAILURES, ScriptedStep
from worker.core.status import Status
from worker.errors import UsageError
from worker.runner.pool import run_async, run_with
from worker.runner.prepare import Options
from worker.runner.result import PathEntry, Result
from worker.sandbox.limits import Limits
from worker.testing.assertions import log_lines, why_not
from worker.util.json import dumps
from worker.workflow.model import Edge, Workflow


@dataclass(frozen=True, slots=True)
class ScriptedOutcome:
    """Yes or no, and why: what an ``assert`` shows when it fails."""

    yes: bool
    why: str

    def __bool__(self) -> bool:
        return self.yes

    def __repr__(self) -> str:
        return self.why


_NOTHING: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowUnderTest:
    """A workflow, and what its steps do instead of running their code."""

    workflow: Workflow
    limits: Limits = Limits()
    script: Mapping[str, tuple[ScriptedStep, ...]] = field(default_factory=dict)

    def with_step(
        self,
        step: str,
        *,
        fails: str = "",
        message: str = "scripted",
        details: Mapping[str, Any] | None = None,
        returns: Any = _NOTHING,
        takes: float = 0.0,
        hangs: bool = False,
        execution: int | None = None,
    ) -> WorkflowUnderTest:
        """The workflow with a step scripted: for all executions, or for one, counted from 0.

        Later calls go before earlier ones. ``takes`` is in seconds of virtual time. Raises
        :class:`UsageError` for a step or an error type that does not exist.
        """
        self._known(step)
        if fails and fails not in FAILURES:
            raise UsageError(f"there is no error type '{fails}' (there are: {', '.join(FAILURES)})")
        error = StepError(type=fails, message=message, name=fails, details=details or {})
        act = ScriptedStep(
            first=execution or 0,
            last=execution,
            returns=None if returns is _NOTHING else dumps(returns),
            error=error if fails else None,
            takes_s=math.inf if hangs else takes,
        )
        return replace(self, script={**self.script, step: (act, *self.script.get(step, ()))})

    def with_limits(self, *, timeout: float = 300.0, memory_mb: int = 500) -> WorkflowUnderTest:
        """The workflow within other limits; ``timeout`` is in seconds."""
        return replace(self, limits=Limits(timeout_s=timeout, memory_mb=memory_mb))

    def run(self, input: Mapping[str, Any] | None = None) -> RunUnderTest:
        """Run it to its end."""
        return RunUnderTest(self.workflow, run_with(self.workflow, input, self._options()))

    async def run_async(self, input: Mapping[str, Any] | None = None) -> RunUnderTest:
        """Run it to its end, from async code."""
        return RunUnderTest(self.workflow, await run_async(self.workflow, input, self._options()))

    def _options(self) -> Options:
        return Options(limits=self.limits, script=self.script)

    def _known(self, step: str) -> None:
        known = [one.id for one in self.workflow.steps]
        if step not in known:
            near = difflib.get_close_matches(step, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UsageError(f"stale: the workflow has no step '{step}'{hint}")


@dataclass(frozen=True, slots=True)
class RunUnderTest:
    """A run that ended, with questions that tests ask."""

    workflow: Workflow
    result: Result

    @property
    def status(self) -> Status:
        return self.result.status

    @property
    def error_type(self) -> str | None:
        return self.result.error_type

    @property
    def error_message(self) -> str | None:
        return self.result.error_message

    @property
    def final_state(self) -> Any:
        return self.result.final_state

    @property
    def path(self) -> tuple[PathEntry, ...]:
        return self.result.path

    @property
    def steps(self) -> list[str]:
        """The steps in the order in which they completed."""
        return [entry.step for entry in self.path]

    @property
    def logs(self) -> list[str]:
        """The lines that were logged."""
        return log_lines(self.result)

    def visited(self, step: str) -> ScriptedOutcome:
        """Whether a step ran."""
        yes = step in self.steps
        path = " → ".join(self.steps) or "(no step)"
        return ScriptedOutcome(yes, f"'{step}' {'ran' if yes else 'never ran'}: {path}")

    def took(self, source: str, target: str) -> ScriptedOutcome:
        """Whether the edge between two steps was followed, and if not, why."""
        edge = self._edge(source, target)
        yes = any(entry.step == source and target in entry.next for entry in self.path)
        return ScriptedOutcome(
            yes, f"{edge.id} was taken" if yes else f"{edge.id}: {why_not(edge, self.result)}"
        )

    def _edge(self, source: str, target: str) -> Edge:
        for step in self.workflow.steps:
            for edge in step.edges:
                if (edge.source, edge.target) == (source, target):
                    return edge
        raise UsageError(f"stale: the workflow has no edge {source}->{target}")
