"""A run, in its own process: executes steps and conditions, and reports to the parent.

The process is forked from the zygote for this run alone, has its own limits, and ends with it.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace

from worker.compiler.compiled_job import CompiledJob
from worker.core.machine import EdgesEvaluated, EvaluateEdges
from worker.core.outcome import OUT_OF_MEMORY, Outcome, StepError
from worker.core.scripted import assemble
from worker.sandbox.clock import Clock
from worker.sandbox.event_writer import EventWriter
from worker.sandbox.host_channel import HostBridge
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.javascript.runtime import JavaScript
from worker.sandbox.memory import peak_memory
from worker.sandbox.protocol import EXIT_OUT_OF_MEMORY, Channel, RunRequest
from worker.sandbox.python.steps import CompiledStep, compile_step, run_step
from worker.sandbox.step_executor import EMPTY, StepExecutor
from worker.workflow.model import Language, Step

NEARLY_ALL = 0.97
"""A run whose peak came this close to its limit was refused memory, and may have hidden it."""


def run(request: RunRequest, engine: Engine, channel: socket.socket) -> None:
    """Walk the request's plan to its end, reporting into ``channel``."""
    try:
        SandboxedRun(request, engine, channel).run()
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)


class SandboxedRun(StepExecutor):
    """Performs what the machine orders, for one run."""

    def __init__(self, request: RunRequest, engine: Engine, channel: socket.socket) -> None:
        clock = Clock(request.clock, request.start, request.moments)
        super().__init__(request, EventWriter(request, Channel(channel), clock), clock)
        self._engine = engine
        self._outside = HostBridge(channel, clock, self.skip)
        self._javascript = JavaScript(engine, self._outside.wait, self._call)
        self._python: dict[str, CompiledStep] = {}
        self._memory_before = peak_memory()

    def prepare(self) -> StepError | None:
        engine, clock, jobs = self._engine, self._clock, self._request.jobs
        engine.limit_memory(self._request.limits.memory)
        engine.log = self.log
        engine.date = clock.look
        self._outside.reply = engine.reply
        for specifier, name in self._request.adaptors.items():
            engine.choose(specifier, name)
        if clock.stands_still:
            engine.now = lambda: clock.now() / 1000
        engine.seed(self._request.seed)
        javascript = {id: job for id, job in jobs.items() if isinstance(job, CompiledJob)}
        return self._javascript.define(self._request.plan, javascript, self._request.conditions)

    def execute(self, step: Step, state: str) -> Outcome:
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
            lambda level, message: self.log(level, "JOB", message),
        )

    def within_limits(self, step: Step, outcome: Outcome) -> Outcome:
        """Memory that was refused is a kill, even where the step hid it."""
        if not (outcome.error and outcome.error.aborts) and self._exhausted():
            return Outcome(state=None, error=replace(OUT_OF_MEMORY, job_id=step.id))
        return super().within_limits(step, outcome)

    def _exhausted(self) -> bool:
        return peak_memory() - self._memory_before > self._request.limits.memory * NEARLY_ALL

    def evaluate(self, order: EvaluateEdges, state: str | None) -> EdgesEvaluated:
        # A condition's looks leave the time alone: a judge could not tell how many there were.
        self._engine.date = self._clock.now
        try:
            return self._javascript.judge(order.step, order.edges, state)
        finally:
            self._engine.date = self._clock.look

    def _call(self, number: int, kind: str, text: str) -> None:
        self._outside.call(number, kind, text, step=self._job_id, execution=self._execution)


def _no_credential(step: Step, name: str) -> StepError:
    message = f"the credential '{name}' of this step was not given (see --credentials)"
    return StepError(type="CredentialError", message=message, job_id=step.id)
