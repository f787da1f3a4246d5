"""A run, in its own process: the driver's performer, which reports every fact to the parent.

The process is forked from the zygote for this run alone, has its own limits, and ends with it.
"""

from __future__ import annotations

import json
import math
import os
import resource
import select
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from worker.execute.clips import Clip
from worker.execute.clock import Clock
from worker.execute.javascript.engine import Engine
from worker.execute.javascript.job import CompiledJob
from worker.execute.javascript.steps import JavaScript
from worker.execute.limits import MIB, Limits, timed_out
from worker.execute.protocol import EXIT_OUT_OF_MEMORY, Request
from worker.execute.python import CompiledStep, compile_step, run_step
from worker.execute.report import Reporter, size_of
from worker.plan.workflow import Language, Step
from worker.walk.drive import drive, refuse
from worker.walk.machine import CompleteRun, CompleteStep, EdgesJudged, JudgeEdges, StartStep
from worker.walk.outcome import OUT_OF_MEMORY, Outcome, StepError
from worker.walk.script import act_for, perform
from worker.walk.status import STATUSES

EMPTY = "{}"
NEARLY_ALL = 0.97
"""A run whose peak came this close to its limit was refused memory, and may have hidden it."""


def run(request: Request, engine: Engine, channel: socket.socket) -> None:
    """Walk the request's plan to its end, reporting into ``channel``."""
    clock = Clock(request.clock)
    report = Reporter(request, channel, clock)
    report.emit("run:start", workflow=request.plan.name, versions=request.versions)
    report.flush()
    performer = Run(request, engine, report, channel, clock)
    try:
        engine.limit_memory(request.limits.memory)
        error = performer.prepare()
        if error is not None:
            refuse(request.plan, error, performer)
        else:
            drive(request.plan, Clip(report.next_id(), request.input), performer)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)


class TimeUp(Exception):
    """The run's virtual time is over."""


class Run:
    """Performs what the machine orders, for one run."""

    def __init__(
        self,
        request: Request,
        engine: Engine,
        report: Reporter,
        channel: socket.socket,
        clock: Clock,
    ) -> None:
        self._request = request
        self._report = report
        self._channel = channel
        self._javascript = JavaScript(engine, self._wait)
        self._step_id = self._job_id = ""
        self._step_began = self._began = clock.now()
        self._python: dict[str, CompiledStep] = {}
        self._memory_before = peak_memory()
        self._clock = clock
        engine.log = self._log
        engine.date = clock.now
        if clock.virtual:
            engine.now = lambda: clock.now() / 1000
        engine.seed(request.seed)

    def prepare(self) -> StepError | None:
        """Compile everything before the first step; an error refuses the run."""
        jobs = self._request.jobs
        javascript = {id: job for id, job in jobs.items() if isinstance(job, CompiledJob)}
        return self._javascript.define(self._request.plan, javascript, self._request.conditions)

    def run_step(self, order: StartStep) -> Outcome:
        state = order.input or Clip(self._report.next_id(), EMPTY)
        self._step_id, self._job_id = self._report.next_id(), order.step.id
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
            outcome = self._within_limits(order.step, self._outcome(order, state.text))
        except TimeUp:
            error = timed_out(self._request.limits)
            outcome = Outcome(state=None, error=replace(error, step_id=order.step.id))
        return replace(outcome, state=self._clip(outcome.state))

    def _outcome(self, order: StartStep, state: str) -> Outcome:
        act = act_for(self._request.script, order.step.id, order.execution)
        if act is None:
            return self._execute(order.step, state)
        self._skip(act.takes_s)
        return perform(act, order.step.id, assemble(json.loads(state), dict(order.step.state), {}))

    def _execute(self, step: Step, state: str) -> Outcome:
        if step.id in self._request.missing:
            return Outcome(state=None, error=_no_credential(step, self._request.missing[step.id]))
        configuration = self._request.configurations.get(step.id, EMPTY)
        defaults = json.dumps(dict(step.state)) if step.state else EMPTY
        if step.language is Language.JAVASCRIPT:
            return self._javascript.run(step, state, defaults, configuration)
        return self._execute_python(step, state, defaults, configuration)

    def _execute_python(self, step: Step, state: str, defaults: str, configuration: str) -> Outcome:
        if step.id not in self._python:
            file = step.source_file or f"{step.id}.py"
            self._python[step.id] = compile_step(step.source, file, self._request.modules)
        try:
            full = assemble(json.loads(state), json.loads(defaults), json.loads(configuration))
            text = json.dumps(full)
        except RecursionError:
            text = state  # the step's own parsing fails in the same way, as the step's failure
        return run_step(
            self._python[step.id],
            step.id,
            text,
            lambda level, message: self._log(level, "JOB", message),
        )

    def _within_limits(self, step: Step, outcome: Outcome) -> Outcome:
        """Rule over what the step may have hidden: memory that it used, a state too large."""
        if not (outcome.error and outcome.error.aborts) and self._exhausted():
            return Outcome(state=None, error=replace(OUT_OF_MEMORY, step_id=step.id))
        error = self._too_large(outcome.state)
        return Outcome(state=None, error=replace(error, step_id=step.id)) if error else outcome

    def _too_large(self, state: str | None) -> StepError | None:
        limit = self._request.limits.state
        size = 0 if state is None else size_of(state)
        if size <= limit:
            return None
        text = f"the state is {size / MIB:.1f} MB, over its limit of {limit / MIB:.1f} MB"
        return StepError(type="StateTooLargeError", message=text)

    def _exhausted(self) -> bool:
        return peak_memory() - self._memory_before > self._request.limits.memory * NEARLY_ALL

    def _clip(self, text: str | None) -> Clip | None:
        return None if text is None else Clip(self._report.next_id(), text)

    def judge(self, order: JudgeEdges) -> EdgesJudged:
        clip = order.outcome.state
        judged = self._javascript.judge(order.step, order.edges, clip and clip.text)
        if judged.state is None or (clip is not None and judged.state == clip.text):
            return replace(judged, state=clip)
        error = judged.error or self._too_large(judged.state)
        return replace(judged, state=self._clip(judged.state), error=error)

    def complete_step(self, order: CompleteStep) -> None:
        outcome = order.outcome
        aborted = outcome.error is not None and outcome.error.aborts
        clip = None if aborted else outcome.state
        text, withheld = self._report.clip(clip)
        if outcome.state is None and not aborted:
            self._log("warn", "R/T", "the step returned nothing: its output is empty")
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

    def _final(self, states: Mapping[str, Clip]) -> Clip | None:
        if len(states) <= 1:
            return next(iter(states.values()), None)
        members = (f"{json.dumps(key)}:{clip.text}" for key, clip in states.items())
        return Clip(self._report.next_id(), "{" + ",".join(members) + "}")

    def _log(self, level: str, source: str, message: str) -> None:
        self._report.log(level, source, message, self._step_id, self._job_id)

    def _skip(self, seconds: float) -> None:
        """Let virtual time pass, which the parent's clock does not see."""
        self._clock.skip(seconds)
        if self._clock.skipped > self._request.limits.timeout_s:
            raise TimeUp

    def _wait(self, seconds: float | None) -> None:
        """Sleep; the parent never speaks here, so a channel that can be read is a parent gone."""
        if self._clock.virtual:
            return self._skip(math.inf if seconds is None else seconds)
        readable, _, _ = select.select([self._channel], [], [], seconds)
        if readable:
            os._exit(0)


def _no_credential(step: Step, name: str) -> StepError:
    message = f"the credential '{name}' of this step was not given (see --credentials)"
    return StepError(type="CredentialError", message=message, step_id=step.id)


def assemble(upstream: Any, defaults: dict[str, Any], configuration: Any) -> dict[str, Any]:
    """A step's input: its defaults under the upstream state, ``data`` merged one level deep."""
    state = {"configuration": None, **defaults}
    state |= upstream if isinstance(upstream, dict) else {}
    below, above = defaults.get("data"), state.get("data")
    if isinstance(below, dict) and isinstance(above, dict):
        state["data"] = {**below, **above}
    if state.get("data") is None:
        state["data"] = {}
    state["configuration"] = configuration
    return state


def peak_memory() -> int:
    """The process's peak resident memory, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def data_ceiling(memory: int) -> int:
    """The limit of this process's data that leaves a run ``memory`` bytes, and some headroom."""
    statm = os.open("/proc/self/statm", os.O_RDONLY)
    pages = int(os.read(statm, 200).split()[5])
    os.close(statm)
    return pages * resource.getpagesize() + memory + _HEADROOM


_HEADROOM = 16 * MIB
"""What the interpreter itself may need beyond the run's limit."""


def confine(limits: Limits) -> None:
    """Take from this process what a run has no use for: files, cores, memory over its limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        ceiling = data_ceiling(limits.memory)
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
