"""Runner of scripted runs in this process, without the sandbox: thousands take a second.

Conditions are hostile code like all code, so a :class:`ConditionEvaluator` evaluates them in its
sandbox. Such a run reports the same events as the same run in the sandbox.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from msgspec.structs import replace

from worker.core.event_stream import EventStream
from worker.core.events import from_fields
from worker.core.machine import EdgesEvaluated, EvaluateEdges
from worker.core.outcome import Outcome, StepError
from worker.errors import PlanError
from worker.runner.pool import Pool, start_evaluator
from worker.runner.prepare import Options, input_text, limits_for, prepare, rejection, seed_of
from worker.runner.result import Collector, Result
from worker.sandbox.clock import Clock
from worker.sandbox.event_writer import EventWriter
from worker.sandbox.memory import peak_memory
from worker.sandbox.parent.condition_evaluator import ConditionEvaluator
from worker.sandbox.protocol import RunRequest
from worker.sandbox.step_executor import StepExecutor
from worker.testing.plain_conditions import evaluate_plain
from worker.testing.schedule import ScheduledRun
from worker.util.masking import collect_input_secrets
from worker.workflow.model import Step, Workflow


class NeedsSandbox(Exception):
    """The run came to a step that is not scripted, or counts instructions."""


class InProcessRunner:
    """Runs scheduled runs in this process; ``loop`` is the event loop of ``pool``.

    Its methods block: call them in a thread other than that of the loop.
    """

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool, self._loop = pool, loop
        self._closed = False
        # By the identity of the workflow: hashing one for every run, with all its code, is slow.
        self._requests: dict[tuple[int, str, str], RunRequest | PlanError] = {}
        self._evaluators: dict[int, ConditionEvaluator] = {}
        # Keeps the workflows alive, so that no other object gets the id of one.
        self._workflows: list[Workflow] = []

    def run(self, run: ScheduledRun) -> Result:
        """Run to the end. Raises :class:`NeedsSandbox` on a step that is not scripted."""
        if self._closed:
            raise RuntimeError("the runner of cases is closed")
        options = run.options
        if options.fuel:
            # The condition server counts nothing, and a cost without its conditions is another.
            raise NeedsSandbox
        collector = Collector(run.run_id, ())
        prepared = self._request(run.case.workflow, options)
        if isinstance(prepared, PlanError):
            reason = rejection(run.case.workflow, options, prepared)
            collector.reject(run.case.workflow.name, reason)
            return collector.result()
        request = replace(
            prepared,
            run_id=run.run_id,
            seed=seed_of(run.run_id),
            input=input_text(run.input),
            secrets=(*prepared.secrets, *collect_input_secrets(run.input)),
            limits=limits_for(run.case.workflow, options),
            script=options.script,
            clock_start_us=options.clock_start_us,
        )
        evaluator = self._evaluator(run.case.workflow, prepared)
        ScriptedRun(request, _EventReceiver(collector), evaluator).run()
        return collector.result()

    def _request(self, workflow: Workflow, options: Options) -> RunRequest | PlanError:
        key = (id(workflow), options.start, options.end)
        if key not in self._requests:
            self._workflows.append(workflow)
            try:
                self._requests[key] = prepare(workflow, {}, options, str(uuid.uuid4()))
            except PlanError as error:
                self._requests[key] = error
        return self._requests[key]

    def _evaluator(self, workflow: Workflow, request: RunRequest) -> ConditionEvaluator:
        evaluator = self._evaluators.get(id(workflow))
        # A condition over a limit ends the process; the next run gets a new one.
        if evaluator is None or evaluator.closed:
            own = replace(request, run_id=str(uuid.uuid4()))
            call = asyncio.run_coroutine_threadsafe(start_evaluator(self._pool, own), self._loop)
            evaluator = self._evaluators[id(workflow)] = call.result()
        return evaluator

    def close(self) -> None:
        """End the processes that evaluate conditions; later runs raise an error."""
        # A thread that still runs cases would otherwise start new processes.
        self._closed = True
        for evaluator in self._evaluators.values():
            evaluator.close()


class _EventReceiver:
    """Passes events to the collector at once, where a run in the sandbox writes them to a pipe."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._stream = EventStream(collector.run_id)

    def put(self, header: dict[str, Any], dataclip: str | None) -> None:
        event = from_fields(header, dataclip)
        self._stream.check(event)
        self._collector.receive(event)

    def flush(self) -> None:
        pass


class ScriptedRun(StepExecutor):
    """Run whose steps are all scripted; its conditions are evaluated in a process of their own."""

    def __init__(
        self, request: RunRequest, events: _EventReceiver, evaluator: ConditionEvaluator
    ) -> None:
        clock = Clock(request.clock, request.clock_start_us)
        super().__init__(request, EventWriter(request, events, clock), clock)
        self._evaluator = evaluator
        # Once: its steps run no code, and the system adds up the figures of all threads for it.
        self._peak_bytes = peak_memory()
        self._seed: str | None = request.seed

    def prepare(self) -> StepError | None:
        return self._evaluator.startup_error()

    def peak_bytes(self) -> int:
        return self._peak_bytes

    def execute(self, step: Step, state: str) -> Outcome:
        raise NeedsSandbox

    def evaluate_conditions(self, effect: EvaluateEdges, state: str | None) -> EdgesEvaluated:
        taken = evaluate_plain(effect.step.id, effect.edges, state)
        if taken is not None:
            return EdgesEvaluated(taken=taken, state=state)
        # The seed goes with the first evaluation alone: it starts the random numbers of the run
        # anew in a process that other runs have used before.
        seed, self._seed = self._seed, None
        return self._evaluator.evaluate(
            effect.step.id, state, now_us=self._clock.now_us(), seed=seed
        )
