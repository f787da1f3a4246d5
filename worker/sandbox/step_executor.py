"""Executor of a run's effects: follows the script and the clock, and writes an event for each.

Subclasses execute code and conditions: in the sandbox's child, or not at all (scripted runs).
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping

from msgspec.structs import replace

from worker.core.driver import drive
from worker.core.machine import (
    CompleteRun,
    CompleteStep,
    EdgesEvaluated,
    EvaluateEdges,
    Started,
    StartFailed,
    StartStep,
)
from worker.core.outcome import Outcome, StepError
from worker.core.scripted import build_input, find_scripted_step, scripted_outcome
from worker.core.status import STATUSES
from worker.sandbox.clock import Clock
from worker.sandbox.dataclip import StateText
from worker.sandbox.event_writer import EventWriter, size_of
from worker.sandbox.limits import MIB, timed_out, too_deep
from worker.sandbox.memory import peak_memory
from worker.sandbox.protocol import RunRequest
from worker.util.json import dumps
from worker.util.nesting import nests_deeper
from worker.workflow.model import Language, Step

EMPTY = "{}"

_NOTHING_RETURNED = "the step returned nothing: its output is empty"
_TOO_LARGE = "Dataclip exceeds payload limit: output will not be sent back to the app."
_REDACTED_ON_OPENFN = (
    'the next step receives this output; on OpenFn its data would be "[REDACTED]", '
    "as with the option payload: openfn"
)
# What OpenFn's worker takes for a state without data.
_EMPTY_DATA = re.compile(r'\{"data":(?:\{\}|\[\]|""|true|false|-?[0-9][^"{}\[\]]*)\}')

# OpenFn's own words.
_NOTHING_PASSED_ON = (
    "WARNING: step {} did not return a state object. This may cause downstream jobs to fail."
)


class TimeLimitReached(Exception):
    """The run's virtual time is over its limit."""


class StepExecutor(ABC):
    """Handles the effects of one run."""

    def __init__(self, request: RunRequest, writer: EventWriter, clock: Clock) -> None:
        self._request = request
        self._writer = writer
        self._clock = clock
        self._step_id = self._job_id = ""
        self._execution = 0
        self._redacted: set[str] = set()
        self._cost_before = 0
        self._step_duration = self._duration = clock.stopwatch()

    @abstractmethod
    def prepare(self) -> StepError | None:
        """Prepare for the first step. A returned error ends the run before it starts."""

    @abstractmethod
    def execute(self, step: Step, state: str) -> Outcome:
        """Execute a step's code over an upstream state; the outcome's state is JSON text."""

    @abstractmethod
    def evaluate_conditions(self, effect: EvaluateEdges, state: str | None) -> EdgesEvaluated:
        """Evaluate conditions over a state; the state that they leave is JSON text."""

    def peak_bytes(self) -> int:
        """Return the most memory that the run had in use."""
        return peak_memory()

    def cost(self) -> int | None:
        """Return the engine's instructions so far; ``None`` where they are not counted."""
        return None

    def run(self) -> None:
        """Execute the request's plan to its end."""
        self._writer.emit(
            "run:start", workflow=self._request.plan.name, versions=self._request.versions
        )
        # The parent's time limit starts with run:start, and preparing may take long already.
        self._writer.flush()
        self.walk(self._start())

    def walk(self, start: Started | StartFailed) -> None:
        """Drive the machine from its first event to the end of the run."""
        drive(self._request.plan, start, self, self._request.limits.executions)

    def _start(self) -> Started | StartFailed:
        error = too_deep("the input") if nests_deeper(self._request.input) else self.prepare()
        if error is not None:
            return StartFailed(error=error)
        return Started(input=StateText(self._writer.next_id(), self._request.input))

    # --- steps ------------------------------------------------------------------------------------

    def run_step(self, effect: StartStep) -> Outcome:
        state = self._passed_on(effect.input) or StateText(self._writer.next_id(), EMPTY)
        self._step_id, self._job_id = self._writer.next_id(), effect.step.id
        self._execution = effect.execution
        self._clock.begin_step(effect.step.id, effect.execution)
        self._step_duration = self._clock.stopwatch()
        self._cost_before = self.cost() or 0
        self._writer.emit(
            "step:start",
            step_id=self._step_id,
            job_id=effect.step.id,
            job_name=effect.step.name,
            input_dataclip_id=state.id,
            execution=effect.execution,
        )
        self._writer.flush()
        try:
            outcome = self.within_limits(effect.step, self._outcome(effect, state.text))
        except TimeLimitReached:
            error = timed_out(self._request.limits)
            outcome = Outcome(state=None, error=replace(error, job_id=effect.step.id))
        if outcome.error is not None and outcome.error.job_id == self._job_id:
            outcome = replace(outcome, error=replace(outcome.error, step_id=self._step_id))
        return replace(outcome, state=self._state_text(outcome.state))

    def _passed_on(self, state: StateText | None) -> StateText | None:
        """Return a state as the next step receives it: its data may have to be redacted."""
        if state is None or state.id not in self._redacted:
            return state
        return StateText(state.id, dumps({**json.loads(state.text), "data": "[REDACTED]"}))

    def _outcome(self, effect: StartStep, state: str) -> Outcome:
        scripted = find_scripted_step(self._request.script, effect.step.id, effect.execution)
        if scripted is None:
            return self.execute(effect.step, state)
        self.skip(scripted.takes_s)
        step = effect.step
        return scripted_outcome(
            scripted, step.id, lambda: build_input(json.loads(state), step.state, {})
        )

    def skip(self, seconds: float) -> None:
        """Skip time. Raises :class:`TimeLimitReached` where that exceeds the time limit."""
        # The parent measures real time alone, so skipped time is checked here.
        self._clock.skip(seconds)
        if self._clock.skipped_s > self._request.limits.timeout_s:
            raise TimeLimitReached

    def within_limits(self, step: Step, outcome: Outcome) -> Outcome:
        """Return the outcome, or one that aborts the run if the state is too large."""
        error = self._too_large(outcome.state)
        return Outcome(state=None, error=replace(error, job_id=step.id)) if error else outcome

    def _too_large(self, state: str | None) -> StepError | None:
        limit = self._request.limits.state_bytes
        size = 0 if state is None else size_of(state)
        if size <= limit:
            return too_deep() if state is not None and nests_deeper(state) else None
        text = f"the state is {size / MIB:.1f} MB, over its limit of {limit / MIB:.1f} MB"
        return StepError(type="StateTooLargeError", message=text)

    def _state_text(self, text: str | None) -> StateText | None:
        return None if text is None else StateText(self._writer.next_id(), text)

    def evaluate_edges(self, effect: EvaluateEdges) -> EdgesEvaluated:
        state = effect.outcome.state
        result = self.evaluate_conditions(effect, state and state.text)
        if result.error is not None:
            result = replace(result, error=replace(result.error, step_id=self._step_id or None))
        if result.state is None or (state is not None and result.state == state.text):
            return replace(result, state=state)
        # A condition that changes the state makes a new dataclip, under the same limit.
        error = result.error or self._too_large(result.state)
        return replace(result, state=self._state_text(result.state), error=error)

    # --- events -----------------------------------------------------------------------------------

    def complete_step(self, effect: CompleteStep) -> None:
        outcome = effect.outcome
        aborted = outcome.error is not None and outcome.error.aborts
        # After an abort nothing reads the state, and it may be what broke the limit.
        state = None if aborted else outcome.state
        text, withheld = self._writer.dataclip(state)
        if outcome.state is None and not aborted:
            nothing = _NOTHING_PASSED_ON if effect.next else _NOTHING_RETURNED
            self.log("warn", "R/T", nothing.format(effect.step.id))
        if withheld and state is not None:
            self._report_withheld(state, bool(effect.next))
            # On OpenFn a failed step's event has its dataclip, redacted, and no mark.
            if outcome.error is not None:
                text, withheld = self._writer.dataclip(self._passed_on(state))
        self._writer.emit(
            "step:complete",
            text,
            step_id=self._step_id,
            job_id=effect.step.id,
            reason=outcome.error.reason if outcome.error else "success",
            error=self._writer.error(outcome.error),
            output_dataclip_id=state and state.id,
            withheld=withheld,
            next=effect.next,
            mem=self.peak_bytes(),
            duration=self._step_duration(),
            # A Python step takes none of what is counted, and 0 would be no answer.
            **(self._cost_since(self._cost_before) if _is_counted(effect.step) else {}),
        )
        self._step_id = self._job_id = ""

    def _cost_since(self, before: int) -> dict[str, int]:
        cost = self.cost()
        return {} if cost is None else {"cost": cost - before}

    def _report_withheld(self, state: StateText, passes_on: bool) -> None:
        self.log("info", "R/T", _TOO_LARGE)
        if self._request.redacts_payload:
            self._redacted.add(state.id)
        elif passes_on:
            self.log("warn", "R/T", _REDACTED_ON_OPENFN)

    def complete_run(self, effect: CompleteRun) -> None:
        final, error = self._final(effect.final_states), effect.error
        # Several states that are within the limit may together be over it.
        if final is not None and size_of(final.text) > self._request.limits.state_bytes:
            error, final = self._too_large(final.text), None
        self._writer.emit(
            "run:complete",
            self._writer.mask.json(final.text) if final else None,
            reason=error.reason if error else STATUSES[effect.status].reason,
            error=self._writer.error(error),
            final_dataclip_id=final and final.id,
            withheld=self._writer.too_large(final),
            mem=self.peak_bytes(),
            duration=self._duration(),
            **self._cost_since(0),
        )
        self._writer.flush()

    def _final(self, states: Mapping[str, StateText]) -> StateText | None:
        states = {key: self._passed_on(state) or state for key, state in states.items()}
        if len(states) <= 1:
            return next(iter(states.values()), None)
        # The map of several leaves has none whose data is empty, but where all would be missing.
        states = {
            key: s for key, s in states.items() if not _EMPTY_DATA.fullmatch(s.text)
        } or states
        # Joined as text: parsing large states only to write them again would double the memory.
        members = (f"{json.dumps(key)}:{state.text}" for key, state in states.items())
        return StateText(self._writer.next_id(), "{" + ",".join(members) + "}")

    def log(self, level: str, source: str, message: str) -> None:
        self._writer.log(level, source, message, self._step_id, self._job_id)


def _is_counted(step: Step) -> bool:
    return step.language is Language.JAVASCRIPT
