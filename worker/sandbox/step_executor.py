"""What every run does, wherever its code is executed: it performs what the machine orders, keeps
to the script and to the clock, and reports each fact."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from worker.core.driver import drive, refuse
from worker.core.machine import CompleteRun, CompleteStep, EdgesEvaluated, EvaluateEdges, StartStep
from worker.core.outcome import Outcome, StepError
from worker.core.scripted import act_for, assemble, perform
from worker.core.status import STATUSES
from worker.sandbox.clock import Clock
from worker.sandbox.dataclip import StateText
from worker.sandbox.event_writer import EventWriter, size_of
from worker.sandbox.limits import MIB, timed_out
from worker.sandbox.memory import peak_memory
from worker.sandbox.protocol import RunRequest
from worker.workflow.model import Step

EMPTY = "{}"


class TimeLimitReached(Exception):
    """The run's virtual time is over."""


class StepExecutor(ABC):
    """One run. What executes code and conditions is left to those who can."""

    def __init__(self, request: RunRequest, report: EventWriter, clock: Clock) -> None:
        self._request = request
        self._report = report
        self._clock = clock
        self._step_id = self._job_id = ""
        self._execution = 0
        self._step_began = self._began = clock.now()

    @abstractmethod
    def prepare(self) -> StepError | None:
        """Make everything ready before the first step; an error refuses the run."""

    @abstractmethod
    def execute(self, step: Step, state: str) -> Outcome:
        """Execute a step's real code over an upstream state; the outcome's state is text."""

    @abstractmethod
    def evaluate(self, order: EvaluateEdges, state: str | None) -> EdgesEvaluated:
        """Evaluate conditions over a state; the state that they leave is text."""

    def run(self) -> None:
        """Walk the request's plan to its end."""
        self._report.emit(
            "run:start", workflow=self._request.plan.name, versions=self._request.versions
        )
        self._report.flush()
        error = self.prepare()
        if error is not None:
            refuse(self._request.plan, error, self)
        else:
            drive(self._request.plan, StateText(self._report.next_id(), self._request.input), self)

    # --- steps ------------------------------------------------------------------------------------

    def run_step(self, order: StartStep) -> Outcome:
        state = order.input or StateText(self._report.next_id(), EMPTY)
        self._step_id, self._job_id = self._report.next_id(), order.step.id
        self._execution = order.execution
        self._clock.begin_step(order.step.id, order.execution)
        self._step_began = self._clock.now()
        self._report.emit(
            "step:start",
            step_id=self._step_id,
            job_id=order.step.id,
            job_name=order.step.name,
            input_dataclip_id=state.id,
            execution=order.execution,
        )
        self._report.flush()
        try:
            outcome = self.within_limits(order.step, self._outcome(order, state.text))
        except TimeLimitReached:
            error = timed_out(self._request.limits)
            outcome = Outcome(state=None, error=replace(error, job_id=order.step.id))
        if outcome.error is not None and outcome.error.job_id == self._job_id:
            outcome = replace(outcome, error=replace(outcome.error, step_id=self._step_id))
        return replace(outcome, state=self._clip(outcome.state))

    def _outcome(self, order: StartStep, state: str) -> Outcome:
        act = act_for(self._request.script, order.step.id, order.execution)
        if act is None:
            return self.execute(order.step, state)
        self.skip(act.takes_s)
        return perform(act, order.step.id, assemble(json.loads(state), dict(order.step.state), {}))

    def skip(self, seconds: float) -> None:
        """Let virtual time pass, which no clock of the machine's sees."""
        self._clock.skip(seconds)
        if self._clock.skipped > self._request.limits.timeout_s:
            raise TimeLimitReached

    def within_limits(self, step: Step, outcome: Outcome) -> Outcome:
        """Rule over what a step may hide: a state that is too large."""
        error = self._too_large(outcome.state)
        return Outcome(state=None, error=replace(error, job_id=step.id)) if error else outcome

    def _too_large(self, state: str | None) -> StepError | None:
        limit = self._request.limits.state
        size = 0 if state is None else size_of(state)
        if size <= limit:
            return None
        text = f"the state is {size / MIB:.1f} MB, over its limit of {limit / MIB:.1f} MB"
        return StepError(type="StateTooLargeError", message=text)

    def _clip(self, text: str | None) -> StateText | None:
        return None if text is None else StateText(self._report.next_id(), text)

    def judge(self, order: EvaluateEdges) -> EdgesEvaluated:
        clip = order.outcome.state
        judged = self.evaluate(order, clip and clip.text)
        if judged.error is not None:
            judged = replace(judged, error=replace(judged.error, step_id=self._step_id or None))
        if judged.state is None or (clip is not None and judged.state == clip.text):
            return replace(judged, state=clip)
        error = judged.error or self._too_large(judged.state)
        return replace(judged, state=self._clip(judged.state), error=error)

    # --- reports ----------------------------------------------------------------------------------

    def complete_step(self, order: CompleteStep) -> None:
        outcome = order.outcome
        aborted = outcome.error is not None and outcome.error.aborts
        clip = None if aborted else outcome.state
        text, withheld = self._report.clip(clip)
        if outcome.state is None and not aborted:
            self.log("warn", "R/T", "the step returned nothing: its output is empty")
        self._report.emit(
            "step:complete",
            text,
            step_id=self._step_id,
            job_id=order.step.id,
            reason=outcome.error.reason if outcome.error else "success",
            error=self._report.error(outcome.error),
            output_dataclip_id=clip and clip.id,
            withheld=withheld,
            next=order.next,
            mem=peak_memory(),
            duration=self._clock.now() - self._step_began,
        )
        self._step_id = self._job_id = ""

    def complete_run(self, order: CompleteRun) -> None:
        final = self._final(order.final_states)
        self._report.emit(
            "run:complete",
            self._report.mask.json(final.text) if final else None,
            reason=STATUSES[order.status].reason,
            error=self._report.error(order.error),
            final_dataclip_id=final and final.id,
            withheld=self._report.too_large(final),
            mem=peak_memory(),
            duration=self._clock.now() - self._began,
        )
        self._report.flush()

    def _final(self, states: Mapping[str, StateText]) -> StateText | None:
        if len(states) <= 1:
            return next(iter(states.values()), None)
        members = (f"{json.dumps(key)}:{clip.text}" for key, clip in states.items())
        return StateText(self._report.next_id(), "{" + ",".join(members) + "}")

    def log(self, level: str, source: str, message: str) -> None:
        self._report.log(level, source, message, self._step_id, self._job_id)
