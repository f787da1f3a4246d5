"""Python API for tests of a workflow, which the pytest fixture ``workflow`` returns.

@pytest.mark.workflow("graphs/referral.yaml")
def test_referral(workflow):
    run = workflow.with_step("fetch-patient", fails="JobError", message="404").run(input={})
    assert run.status == "success"
    assert run.took("fetch-patient", "alert-nurse")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from worker.audit.laws import Breach
from worker.core.outcome import StepError
from worker.core.scripted import FAILURES, ScriptedStep
from worker.core.status import Status
from worker.errors import UsageError
from worker.fuzzing.campaign import CampaignResult
from worker.fuzzing.fuzz_workflow import fuzz_workflow
from worker.runner.pool import run, run_async
from worker.runner.prepare import Options
from worker.runner.result import PathEntry, Result
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits, resolve_limits
from worker.testing.assertions import explain_not_taken, log_lines
from worker.testing.case import DEFAULT_START_US, moment_us
from worker.testing.case_trigger import FIRED, TriggerResponse, TriggerStart
from worker.testing.mutants import Mutant, mutants_of
from worker.testing.proofs import WorkflowDiff, audit_run, diff_workflows
from worker.util.json import dumps
from worker.workflow.documents.data import did_you_mean
from worker.workflow.load import load
from worker.workflow.model import Edge, Workflow

if TYPE_CHECKING:
    from worker.testing.trigger_start import WorkflowTriggers


@dataclass(frozen=True, slots=True)
class ExplainedBool:
    """Truth value that prints its reason, so that a failing ``assert`` shows the reason."""

    value: bool
    reason: str

    def __bool__(self) -> bool:
        return self.value

    # pytest prints the repr of what was asserted; nothing else reaches its report.
    def __repr__(self) -> str:
        return self.reason


# The default of `returns`, as a step may well return None.
_UNSET: Any = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowUnderTest:
    """Workflow with the script and the limits that a test runs it with.

    It never changes: each ``with_`` method returns a new one, so tests can share a base.
    """

    workflow: Workflow
    limits: Limits | None = None
    script: Mapping[str, tuple[ScriptedStep, ...]] = field(default_factory=dict)
    collections: Path | None = None
    fuel: bool = False

    def __repr__(self) -> str:
        # pytest shows it with every failed test: all fields are a hundred lines.
        return f"<workflow {self.workflow.name!r}>"

    def with_step(
        self,
        step: str,
        *,
        fails: str = "",
        message: str = "scripted",
        details: Mapping[str, Any] | None = None,
        returns: Any = _UNSET,
        takes: float = 0.0,
        hangs: bool = False,
        execution: int | None = None,
    ) -> WorkflowUnderTest:
        """Script a step, which then does not run its code.

        ``fails`` is an error type, with ``message`` and ``details``. ``returns`` is the step's
        output; by default its input is passed on. ``takes`` is in seconds of virtual time;
        ``hangs`` is longer than any limit. ``execution`` restricts all this to one execution,
        counted from 0. Later calls come before earlier ones.

        Returns a new workflow. Raises :class:`UsageError` for an unknown step or error type.
        """
        self._check_step(step)
        if fails and fails not in FAILURES:
            raise UsageError(
                f"unknown error type '{fails}' (expected one of {', '.join(FAILURES)})"
            )
        error = StepError(type=fails, message=message, name=fails, details=details or {})
        scripted = ScriptedStep(
            first=execution or 0,
            last=execution,
            returns=None if returns is _UNSET else dumps(returns),
            error=error if fails else None,
            takes_s=math.inf if hangs else takes,
        )
        return replace(self, script={**self.script, step: (scripted, *self.script.get(step, ()))})

    def with_limits(
        self, *, timeout: float | None = None, memory_mb: int | None = None
    ) -> WorkflowUnderTest:
        """Set limits of a run, ``timeout`` in seconds; others are those of the workflow's file.

        Returns a new workflow. Raises :class:`UsageError` for a limit out of its range.
        """
        limits = resolve_limits(
            self.workflow.options, {"timeout_s": timeout, "memory_mb": memory_mb}
        )
        return replace(self, limits=limits)

    def with_collections(self, folder: str | Path) -> WorkflowUnderTest:
        """Set the folder of the collections, as ``worker run --collections``.

        Returns a new workflow.
        """
        return replace(self, collections=Path(folder))

    def with_fuel(self) -> WorkflowUnderTest:
        """Count the instructions of runs.

        Returns a new workflow.
        """
        return replace(self, fuel=True)

    def run(self, input: Mapping[str, Any] | None = None) -> RunUnderTest:
        """Run the workflow to its end, and return the run.

        ``input`` is the initial state, empty by default. A run that fails raises nothing.
        """
        return RunUnderTest(self.workflow, run(self.workflow, input, self._options()))

    async def run_async(self, input: Mapping[str, Any] | None = None) -> RunUnderTest:
        """Run like :meth:`run`, from async code."""
        return RunUnderTest(self.workflow, await run_async(self.workflow, input, self._options()))

    def message(
        self,
        topic: str,
        content: Any = _UNSET,
        *,
        payload: bytes = b"",
        qos: int = 1,
        retain: bool = False,
        properties: Mapping[str, str] | None = None,
        trigger: str = "",
    ) -> StartUnderTest:
        """Start the workflow by a message, as a trigger of the fleet does.

        ``content`` is sent as JSON, ``payload`` as it is. ``trigger`` is a name, where several
        cover the topic. Raises :class:`UsageError` where none does, or for both contents.
        """
        from worker.testing.trigger_start import topic_message

        body = _body(content, payload)
        message = topic_message(topic, body, qos=qos, retain=retain, properties=properties or {})
        return self._start(lambda triggers: triggers.message(message, trigger))

    def call(
        self,
        path: str = "",
        content: Any = _UNSET,
        *,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> StartUnderTest:
        """Start the workflow by a call of a webhook; without a path, of the only one.

        ``content`` is sent as JSON, ``payload`` as it is. Raises :class:`UsageError` where there is
        no such webhook, or for both contents.
        """
        from worker.testing.trigger_start import webhook_call

        body = _body(content, payload)
        call = webhook_call(
            path, body, is_json=content is not _UNSET, headers=headers or {}, query=query
        )
        return self._start(lambda triggers: triggers.call(call))

    def tick(
        self,
        trigger: str = "",
        *,
        cursor: Mapping[str, Any] | None = None,
        at: datetime | str | None = None,
    ) -> StartUnderTest:
        """Start the workflow by the next tick after ``at``, on a clock that begins with that tick.

        ``at`` is a time, or its text in ISO 8601; by default the one of cases, the start of 2026.
        ``cursor`` is the input, empty by default. Raises :class:`UsageError` where there is no such
        trigger, or for another text.
        """
        after_us = _moment_us(at)
        return self._start(lambda triggers: triggers.tick(trigger, after_us), cursor)

    def _start(
        self,
        receive: Callable[[WorkflowTriggers], TriggerStart],
        cursor: Mapping[str, Any] | None = None,
    ) -> StartUnderTest:
        # Imported here: the rules of the fleet, which most tests do not need.
        from worker.testing.trigger_start import WorkflowTriggers, outcome_of, response_of

        start = receive(WorkflowTriggers(self.workflow))
        outcome, text = outcome_of(start)
        if outcome != FIRED:
            return StartUnderTest(outcome=outcome, message=text, response=start.response)
        input = cursor if start.input is None else start.input
        result = run(self.workflow, input, self._options_of(start))
        return StartUnderTest(
            outcome=outcome,
            run=RunUnderTest(self.workflow, result),
            response=response_of(start, result),
        )

    def diff(self, other: WorkflowUnderTest | Workflow | str | Path) -> WorkflowDiff:
        """Compare with a newer version in every combination of outcomes.

        ``other`` is a workflow, or the path of its file. Raises :class:`LoadError` and
        :class:`UsageError` for one that cannot run.
        """
        match other:
            case WorkflowUnderTest():
                new = other.workflow
            case Workflow():
                new = other
            case _:
                new = load(Path(other))
        return diff_workflows(self.workflow, new)

    def mutants(self) -> tuple[Mutant, ...]:
        """Return copies of the workflow, each with one edge or condition changed."""
        return tuple(mutants_of(self.workflow))

    def fuzz(
        self,
        samples: Sequence[Mapping[str, Any]],
        *,
        seconds: float = 10.0,
        inputs: int | None = None,
        seed: int = 0,
    ) -> CampaignResult:
        """Run inputs like the samples and just beside them; see :func:`fuzz_workflow`."""
        return fuzz_workflow(
            self.workflow,
            samples,
            seconds=seconds,
            inputs=inputs,
            seed=seed,
            script=self.script,
            limits=self.limits,
        )

    def _options(self) -> Options:
        return Options(
            limits=self.limits, script=self.script, collections=self.collections, fuel=self.fuel
        )

    def _options_of(self, start: TriggerStart) -> Options:
        options = msgspec.structs.replace(self._options(), start=start.start)
        if start.tick_us is None:
            return options
        # As in a case: a job that reads the time reads that of the tick.
        clock, tick_us = ClockKind.VIRTUAL, start.tick_us
        return msgspec.structs.replace(options, clock=clock, clock_start_us=tick_us)

    def _check_step(self, name: str) -> None:
        known = [step.id for step in self.workflow.steps]
        if name not in known:
            raise UsageError(f"stale: the workflow has no step '{name}'{did_you_mean(name, known)}")


def _body(content: Any, payload: bytes) -> bytes:
    """Return the bytes of a message or a call; ``content`` is sent as JSON."""
    if content is _UNSET:
        return payload
    if payload:
        raise UsageError("content and payload are both the body: leave one out")
    return dumps(content).encode()


def _moment_us(at: datetime | str | None) -> int:
    try:
        return DEFAULT_START_US if at is None else moment_us(at)
    except ValueError as error:
        raise UsageError(f"at: expected a date and time, found '{at}'") from error


@dataclass(frozen=True, slots=True)
class RunUnderTest:
    """Run that ended, with what tests assert about it."""

    workflow: Workflow
    result: Result

    @property
    def status(self) -> Status:
        """Status of the run; it equals its name (``run.status == "success"``)."""
        return self.result.status

    @property
    def error_type(self) -> str | None:
        """Type of the error that the run ended with; ``None`` where there is none."""
        return self.result.error_type

    @property
    def error_message(self) -> str | None:
        """Message of the error that the run ended with; ``None`` where there is none."""
        return self.result.error_message

    @property
    def final_state(self) -> Any:
        """Final state, as Python data."""
        return self.result.final_state

    @property
    def path(self) -> tuple[PathEntry, ...]:
        """Executions of steps, in the order in which they completed."""
        return self.result.path

    @property
    def steps(self) -> list[str]:
        """Ids of the steps, in the order in which they completed."""
        return [entry.step for entry in self.path]

    @property
    def cost(self) -> int | None:
        """Instructions of the run; ``None`` unless :meth:`WorkflowUnderTest.with_fuel` counts."""
        return self.result.cost

    @property
    def breach(self) -> Breach | None:
        """First event that breaks a rule of runs; ``None`` if all follow them."""
        return audit_run(self.result.events)

    @property
    def logs(self) -> list[str]:
        """Log lines of the run, in order."""
        return log_lines(self.result)

    def visited(self, step: str) -> ExplainedBool:
        """Test that the step ran; the reason is the path of the run."""
        ran = step in self.steps
        path = " → ".join(self.steps) or "(no step)"
        return ExplainedBool(ran, f"'{step}' {'ran' if ran else 'never ran'}: {path}")

    def took(self, source: str, target: str) -> ExplainedBool:
        """Test that the edge between two steps was taken; the reason explains why it was not.

        Raises :class:`UsageError` where the workflow has no such edge.
        """
        edge = self._edge(source, target)
        taken = any(entry.step == source and target in entry.next for entry in self.path)
        reason = " was taken" if taken else f": {explain_not_taken(edge, self.result)}"
        return ExplainedBool(taken, f"{edge.id}{reason}")

    def _edge(self, source: str, target: str) -> Edge:
        for step in self.workflow.steps:
            for edge in step.edges:
                if (edge.source, edge.target) == (source, target):
                    return edge
        # A name that is gone must not read as "not taken": `assert not` would pass for ever.
        raise UsageError(f"stale: the workflow has no edge {source}->{target}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StartUnderTest:
    """What a trigger made of a message, a call or a tick.

    ``outcome`` is ``fired`` with the ``run``, or the reason why none started, with a ``message``.
    ``response`` is that to a call.
    """

    outcome: str
    message: str = ""
    run: RunUnderTest | None = None
    response: TriggerResponse | None = None
