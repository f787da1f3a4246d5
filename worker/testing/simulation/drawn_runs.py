"""Runs whose steps and conditions are drawn: the machine walks the graph, and no code of it runs.

A step takes a drawn time and succeeds, or fails with a JobError in one case of ten. A condition is
true or false by chance. All that follows from them is decided by the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import msgspec

from worker.core.compile_plan import compile_plan
from worker.core.driver import drive
from worker.core.events import AnyEvent, Dataclip, RunComplete, RunStart, StepComplete, StepStart
from worker.core.machine import (
    CompleteRun,
    CompleteStep,
    EdgesEvaluated,
    EvaluateEdges,
    Started,
    StartStep,
)
from worker.core.outcome import Outcome, StepError
from worker.core.plan import Plan
from worker.core.status import STATUSES
from worker.fleet.messaging.worker_protocol import AssignedRun, Lease
from worker.testing.simulation.history import History, Span
from worker.util.machine_clock import now_us
from worker.workflow.load import load
from worker.workflow.model import Edge, EdgeKind

MAX_STEPS = 1000
"""How many steps a run executes before it is killed: each takes its time."""
_FAILING = 0.1
_OUTPUT = Dataclip('{"data":{}}')
_CANCELLED = StepError(type="CancelledError", message="cancelled", name="CancelledError")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnStep:
    """Execution of a step: its times before and after its effect, and how it ends."""

    id: str
    name: str
    execution: int
    input: str
    output: str
    before_s: float
    after_s: float
    error: StepError | None
    next: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRun:
    """Steps of a run in their order, and its end."""

    steps: tuple[DrawnStep, ...]
    end: CompleteRun


def draw_run(plan: Plan, chance: random.Random) -> DrawnRun:
    """Walk a plan by the rules of the machine; chance decides about steps and conditions."""
    walk = _Walk(chance)
    drive(plan, Started(input="c-0"), walk, MAX_STEPS)
    return DrawnRun(steps=tuple(walk.steps), end=walk.end)


@dataclass(slots=True)
class _Walk:
    """Answers of chance to the machine. A state is the id of a dataclip."""

    chance: random.Random
    steps: list[DrawnStep] = field(default_factory=list)
    end: CompleteRun = field(init=False)

    def run_step(self, effect: StartStep) -> Outcome:
        before_s, after_s = _durations_s(self.chance)
        error = None
        if self.chance.random() < _FAILING:
            error = StepError(
                type="JobError", message="simulated", name="JobError", job_id=effect.step.id
            )
        step = DrawnStep(
            id=effect.step.id,
            name=effect.step.name,
            execution=effect.execution,
            input=effect.input,
            output=f"c-{len(self.steps) + 1}",
            before_s=before_s,
            after_s=after_s,
            error=error,
        )
        self.steps.append(step)
        return Outcome(state=step.output, errored=error is not None, error=error)

    def evaluate_edges(self, effect: EvaluateEdges) -> EdgesEvaluated:
        taken = tuple(self._is_taken(edge, effect.outcome) for edge in effect.edges)
        return EdgesEvaluated(taken=taken, state=effect.outcome.state)

    def _is_taken(self, edge: Edge, outcome: Outcome) -> bool:
        match edge.kind:
            case EdgeKind.SUCCESS:
                return not outcome.errored
            case EdgeKind.FAILURE:
                return outcome.errored
            case EdgeKind.EXPRESSION:
                return self.chance.random() < 0.5
            case _:
                return True

    def complete_step(self, effect: CompleteStep) -> None:
        self.steps[-1] = replace(self.steps[-1], next=effect.next)

    def complete_run(self, effect: CompleteRun) -> None:
        self.end = effect


def _durations_s(chance: random.Random) -> tuple[float, float]:
    luck = chance.random()
    # Some end while their first events are on their way, and some outlast a lease.
    if luck < 0.1:
        return chance.uniform(0.001, 0.01), 0.001
    return chance.uniform(0.05, 4.0) if luck < 0.9 else 15.0, chance.uniform(0.0, 1.0)


class DrawnExecutor:
    """Executes drawn runs of the plans that the control plane sends, and counts their effects."""

    def __init__(
        self,
        history: History,
        has_stored_start: Callable[[Lease], bool],
        chance: random.Random,
    ) -> None:
        self._history = history
        self._has_stored_start = has_stored_start
        self._chance = chance

    async def execute(
        self, run: AssignedRun, receive: Callable[[AnyEvent], None], cancel: asyncio.Event
    ) -> None:
        run_id, loop = run.lease.run_id, asyncio.get_running_loop()
        if not self._has_stored_start(run.lease):
            self._history.begun_early.add(run_id)
        workflow = load(msgspec.json.decode(run.plan))
        drawn = draw_run(compile_plan(workflow, start=run.options.start), self._chance)
        seq = count()

        def send(kind: type[AnyEvent], **fields: Any) -> None:
            receive(kind(run_id=run_id, seq=next(seq), timestamp=now_us(), **fields))

        began_s = loop.time()
        try:
            send(RunStart, workflow=workflow.name, versions={})
            for number, step in enumerate(drawn.steps, 1):
                if not await self._step(run_id, step, f"s-{number}", send, cancel):
                    send(RunComplete, reason=_CANCELLED.reason, error=_CANCELLED)
                    return
            end = drawn.end
            reason = end.error.reason if end.error else STATUSES[end.status].reason
            send(RunComplete, reason=reason, error=end.error)
        finally:
            self._history.spans.append(Span(run_id, began_s, loop.time()))

    async def _step(
        self,
        run_id: str,
        step: DrawnStep,
        step_id: str,
        send: Callable[..., None],
        cancel: asyncio.Event,
    ) -> bool:
        """Execute a step; return False if the run is cancelled meanwhile."""
        send(StepStart, step_id=step_id, job_id=step.id, job_name=step.name,
             input_dataclip_id=step.input, execution=step.execution)  # fmt: skip
        is_done = False
        if await passes(step.before_s, cancel):
            self._history.effects[run_id, step.id, step.execution] += 1
            is_done = await passes(step.after_s, cancel)
        if not is_done:
            send(StepComplete, step_id=step_id, job_id=step.id, reason=_CANCELLED.reason,
                 error=_CANCELLED)  # fmt: skip
            return False
        reason = step.error.reason if step.error else "success"
        send(StepComplete, step_id=step_id, job_id=step.id, reason=reason, error=step.error,
             next=step.next, output_dataclip_id=step.output, output_dataclip=_OUTPUT)  # fmt: skip
        return True


async def passes(time_s: float, cancel: asyncio.Event) -> bool:
    """Wait; return False if the run is cancelled meanwhile."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(time_s):
            await cancel.wait()
    return not cancel.is_set()
