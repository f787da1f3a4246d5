"""Runs that come to scripted steps alone: they need no process, so thousands take a second.

Conditions are code all the same, and hostile like all code: a :class:`Judge` evaluates them in its
sandbox. What such a run reports is what the same run in a process of its own reports.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

from worker.core.completion import Tail
from worker.core.machine import EdgesJudged, JudgeEdges
from worker.core.outcome import Outcome, StepError
from worker.errors import PlanError
from worker.runner.pool import Pool
from worker.runner.prepare import Options, input_text, prepare, seed_of
from worker.runner.result import Collector, Result
from worker.sandbox.clock import Clock
from worker.sandbox.condition_client import Judge
from worker.sandbox.event_writer import Reporter
from worker.sandbox.protocol import Request
from worker.sandbox.step_executor import Performance
from worker.testing.schedule import Turn
from worker.workflow.model import Step, Workflow


class RealCode(Exception):
    """The run came to a step that its script says nothing about."""


class Stage:
    """Where scripted turns are run, in this process. Its methods block: use it in a thread.

    What is the same for all turns of a workflow is prepared once. ``loop`` is where ``pool`` lives.
    """

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool, self._loop = pool, loop
        self._requests: dict[tuple[int, str, str], Request | PlanError] = {}
        self._judges: dict[int, Judge] = {}
        self._kept: list[Workflow] = []

    def run(self, turn: Turn) -> Result:
        """Run a turn. Raises :class:`RealCode` where it needs a process of its own after all."""
        options = turn.options
        collector = Collector(turn.run_id, ())
        base = self._request(turn.case.workflow, options)
        if isinstance(base, PlanError):
            collector.refuse(turn.case.workflow.name, base)
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
        Scripted(request, _Facts(collector), self._judge(turn.case.workflow, base)).run()
        return collector.result()

    def _request(self, workflow: Workflow, options: Options) -> Request | PlanError:
        key = (id(workflow), options.start, options.end)
        if key not in self._requests:
            self._kept.append(workflow)  # so that its id stays its own
            try:
                self._requests[key] = prepare(workflow, {}, options, str(uuid.uuid4()))
            except PlanError as error:
                self._requests[key] = error
        return self._requests[key]

    def _judge(self, workflow: Workflow, request: Request) -> Judge:
        judge = self._judges.get(id(workflow))
        if judge is None or judge.gone:
            asked = replace(request, run_id=str(uuid.uuid4()))
            call = asyncio.run_coroutine_threadsafe(self._pool.judge(asked), self._loop)
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
        self._tail = Tail(collector.run_id)

    def put(self, header: dict[str, Any], clip: str | None) -> None:
        self._collector.receive(self._tail.accept(header, clip))

    def flush(self) -> None:
        pass


class Scripted(Performance):
    """A run without a process: its script says all, and its conditions are asked of a judge."""

    def __init__(self, request: Request, facts: _Facts, judge: Judge) -> None:
        clock = Clock(request.clock, request.start)
        super().__init__(request, Reporter(request, facts, clock), clock)
        self._judge = judge
        self._seed: str | None = request.seed

    def prepare(self) -> StepError | None:
        return self._judge.refused()

    def execute(self, step: Step, state: str) -> Outcome:
        raise RealCode

    def evaluate(self, order: JudgeEdges, state: str | None) -> EdgesJudged:
        seed, self._seed = self._seed, None
        return self._judge.ask(order.step.id, state, now=self._clock.now(), seed=seed)
