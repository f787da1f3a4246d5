"""Runs that come to scripted steps alone: they need no process, so thousands take a second.

Conditions are code all the same, and hostile like all code: a :class:`ConditionEvaluator`
evaluates them in its sandbox. What such a run reports is what the same run in a process of its own
reports.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

from worker.core.completion import EventStream
from worker.core.machine import EdgesEvaluated, EvaluateEdges
from worker.core.outcome import Outcome, StepError
from worker.errors import PlanError
from worker.runner.pool import Pool
from worker.runner.prepare import Options, input_text, prepare, seed_of
from worker.runner.result import Collector, Result
from worker.sandbox.clock import Clock
from worker.sandbox.condition_client import ConditionEvaluator
from worker.sandbox.event_writer import EventWriter
from worker.sandbox.protocol import RunRequest
from worker.sandbox.step_executor import StepExecutor
from worker.testing.schedule import Turn
from worker.workflow.model import Step, Workflow


class NeedsSandbox(Exception):
    """The run came to a step that its script says nothing about."""


class InProcessRunner:
    """Where scripted turns are run, in this process. Its methods block: use it in a thread.

    What is the same for all turns of a workflow is prepared once. ``loop`` is where ``pool`` lives.
    """

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool, self._loop = pool, loop
        self._requests: dict[tuple[int, str, str], RunRequest | PlanError] = {}
        self._judges: dict[int, ConditionEvaluator] = {}
        self._kept: list[Workflow] = []

    def run(self, turn: Turn) -> Result:
        """Run a turn. Raises :class:`NeedsSandbox` where it needs a process of its own."""
        options = turn.options
        collector = Collector(turn.run_id, ())
        base = self._request(turn.case.workflow, options)
        if isinstance(base, PlanError):
            collector.reject(turn.case.workflow.name, base)
            return collector.result()
        request = replace(
            base,
            run_id=turn.run_id,
            seed=seed_of(turn.run_id),
            input=input_text(turn.input),
            limits=options.limits,
            script=options.script,
            start=options.start_at,
        )
        ScriptedRun(request, _Facts(collector), self._judge(turn.case.workflow, base)).run()
        return collector.result()

    def _request(self, workflow: Workflow, options: Options) -> RunRequest | PlanError:
        key = (id(workflow), options.start, options.end)
        if key not in self._requests:
            self._kept.append(workflow)  # so that its id stays its own
            try:
                self._requests[key] = prepare(workflow, {}, options, str(uuid.uuid4()))
            except PlanError as error:
                self._requests[key] = error
        return self._requests[key]

    def _judge(self, workflow: Workflow, request: RunRequest) -> ConditionEvaluator:
        judge = self._judges.get(id(workflow))
        if judge is None or judge.gone:
            asked = replace(request, run_id=str(uuid.uuid4()))
            call = asyncio.run_coroutine_threadsafe(self._pool.evaluator(asked), self._loop)
            judge = self._judges[id(workflow)] = call.result()
        return judge

    def close(self) -> None:
        """Let the processes go."""
        for judge in self._judges.values():
            judge.close()


class _Facts:
    """Turns what is reported into events at once."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._tail = EventStream(collector.run_id)

    def put(self, header: dict[str, Any], clip: str | None) -> None:
        self._collector.receive(self._tail.accept(header, clip))

    def flush(self) -> None:
        pass


class ScriptedRun(StepExecutor):
    """A run without a process: its script says all, and its conditions are asked of a judge."""

    def __init__(self, request: RunRequest, facts: _Facts, judge: ConditionEvaluator) -> None:
        clock = Clock(request.clock, request.start)
        super().__init__(request, EventWriter(request, facts, clock), clock)
        self._judge = judge
        self._seed: str | None = request.seed

    def prepare(self) -> StepError | None:
        return self._judge.refused()

    def execute(self, step: Step, state: str) -> Outcome:
        raise NeedsSandbox

    def evaluate(self, order: EvaluateEdges, state: str | None) -> EdgesEvaluated:
        seed, self._seed = self._seed, None
        return self._judge.ask(order.step.id, state, now=self._clock.now(), seed=seed)
