"""One run inside its own process: executes steps and conditions, and writes events."""

from __future__ import annotations

import json

from msgspec.structs import replace

from worker.compiler.compiled_job import CompiledJob
from worker.core.machine import EdgesEvaluated, EvaluateEdges
from worker.core.outcome import OUT_OF_MEMORY, Outcome, StepError
from worker.core.scripted import build_input
from worker.engine.calls import MOST_FUEL
from worker.engine.failures import OutOfFuel
from worker.sandbox.child.frame_receiver import FrameReceiver
from worker.sandbox.child.host_bridge import HostBridge
from worker.sandbox.clock import Clock
from worker.sandbox.event_writer import EventWriter
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.javascript.runtime import JavaScript
from worker.sandbox.limits import out_of_fuel
from worker.sandbox.memory import peak_memory
from worker.sandbox.protocol import FrameSender, RunRequest
from worker.sandbox.python.steps import CompiledStep, compile_step, run_step
from worker.sandbox.step_executor import EMPTY, StepExecutor
from worker.workflow.model import Language, Step

EXHAUSTED_SHARE = 0.97
"""Share of the memory limit at which a run counts as out of memory.

A refused allocation does not show in the peak, so the peak only comes close to the limit.
"""


class SandboxedRun(StepExecutor):
    """Executes the code of one run on the engines of this process; its events go to a channel."""

    def __init__(
        self, request: RunRequest, engine: Engine, receiver: FrameReceiver, sender: FrameSender
    ) -> None:
        clock = Clock(request.clock, request.clock_start_us, request.moments_us)
        super().__init__(request, EventWriter(request, sender, clock), clock)
        self._engine = engine
        self._bridge = HostBridge(receiver, sender, clock, self.skip)
        self._javascript = JavaScript(engine)
        self._python: dict[str, CompiledStep] = {}
        self._image_bytes = 0
        self._is_metered = False
        self._initial_memory = peak_memory()

    def prepare(self) -> StepError | None:
        if not self._needs_engine():
            return None
        # First: what a step reads of the image must not count as memory that the run used.
        self._image_bytes = self._engine.instance.touch_image()
        self._initial_memory = peak_memory()
        self._engine.limit_memory(self._request.limits.memory_bytes)
        self._connect()
        error = define(self._javascript, self._engine, self._request)
        self._meter()
        return error

    def _needs_engine(self) -> bool:
        # The first calls copy pages and cost a fifth of a run that has Python steps alone.
        jobs = self._request.jobs.values()
        return bool(self._request.conditions) or not all(isinstance(job, str) for job in jobs)

    def _meter(self) -> None:
        # Last before the first step: what a runner keeps of a workflow takes no instructions again.
        if self._request.realm.metered:
            self._engine.instance.limit_fuel(self._request.limits.fuel or MOST_FUEL)
            self._is_metered = True

    def cost(self) -> int | None:
        return self._engine.instance.fuel_used if self._is_metered else None

    def _connect(self) -> None:
        """Connect the engine with this run's clock, log and host."""
        engine, clock = self._engine, self._clock
        engine.log = self.log
        engine.date = clock.read
        if clock.stands_still:
            engine.now = lambda: clock.now_us() / 1000
        engine.seed(self._request.seed)
        self._bridge.deliver = engine.reply
        self._javascript.wait, self._javascript.call = self._bridge.wait, self._call

    def execute(self, step: Step, state: str) -> Outcome:
        if step.id in self._request.missing:
            return Outcome(state=None, error=_no_credential(step, self._request.missing[step.id]))
        configuration = self._request.configurations.get(step.id, EMPTY)
        defaults = json.dumps(dict(step.state)) if step.state else EMPTY
        if step.language is Language.PYTHON:
            return self._execute_python(step, state, defaults, configuration)
        credentials = self._request.credentials
        try:
            return self._javascript.run(step, state, defaults, configuration, credentials)
        except OutOfFuel:
            return Outcome(state=None, error=replace(self._out_of_fuel(), job_id=step.id))

    def _out_of_fuel(self) -> StepError:
        return out_of_fuel(self._request.limits)

    def _execute_python(self, step: Step, state: str, defaults: str, configuration: str) -> Outcome:
        # Compiled here and not by the parent: a code object cannot be pickled.
        if step.id not in self._python:
            file = step.source_file or f"{step.id}.py"
            self._python[step.id] = compile_step(step.source, file, self._request.modules)
        try:
            texts = (state, defaults, configuration, self._request.credentials)
            text = json.dumps(build_input(*map(json.loads, texts)))
        except RecursionError:
            # The step's own parsing fails in the same way, and reports it as the step's failure.
            text = state
        return run_step(
            self._python[step.id],
            step.id,
            text,
            lambda level, message: self.log(level, "JOB", message),
        )

    def within_limits(self, step: Step, outcome: Outcome) -> Outcome:
        # A step may catch the error of a refused allocation; the run is killed all the same. The
        # JavaScript engine counts by itself, and exactly.
        aborts = outcome.error is not None and outcome.error.aborts
        if step.language is Language.PYTHON and not aborts and self._exhausted():
            return Outcome(state=None, error=replace(OUT_OF_MEMORY, job_id=step.id))
        return super().within_limits(step, outcome)

    def peak_bytes(self) -> int:
        return peak_memory() - self._image_bytes

    def _exhausted(self) -> bool:
        used = peak_memory() - self._initial_memory
        return used > self._request.limits.memory_bytes * EXHAUSTED_SHARE

    def evaluate_conditions(self, effect: EvaluateEdges, state: str | None) -> EdgesEvaluated:
        # Conditions do not move a stopped clock: a condition server, which cannot know how often
        # they read it, must give the same times.
        self._engine.date = self._clock.now_us
        try:
            return self._javascript.evaluate(effect.step, effect.edges, state)
        except OutOfFuel:
            error = replace(self._out_of_fuel(), job_id=effect.step.id)
            return EdgesEvaluated(taken=(), state=state, error=error)
        finally:
            self._engine.date = self._clock.read

    def _call(self, number: int, kind: str, text: str) -> None:
        self._bridge.call(number, kind, text, step=self._job_id, execution=self._execution)


def define(javascript: JavaScript, engine: Engine, request: RunRequest) -> StepError | None:
    """Choose a request's adaptors, and compile its jobs and conditions; return the first error."""
    for specifier, name in request.adaptors.items():
        engine.choose(specifier, name)
    jobs = {id: job for id, job in request.jobs.items() if isinstance(job, CompiledJob)}
    if request.permissive:
        engine.permit()
    return javascript.define(request.plan, jobs, request.conditions, request.shared)


def _no_credential(step: Step, name: str) -> StepError:
    message = f"the credential '{name}' of this step was not given (see --credentials)"
    return StepError(type="CredentialError", message=message, job_id=step.id)
