"""The driver: performs what the machine orders, and feeds every answer back as a fact."""

from __future__ import annotations

from typing import Any, Protocol, assert_never

from worker.core.machine import (
    CompleteRun,
    CompleteStep,
    EdgesEvaluated,
    EvaluateEdges,
    MachineEvent,
    Started,
    StartFailed,
    StartStep,
    StepFinished,
    decide,
    initial_state,
)
from worker.core.outcome import Outcome, StepError
from worker.core.plan import Plan


class EffectHandler(Protocol):
    """Executes steps and conditions, and hears what is complete."""

    def run_step(self, order: StartStep) -> Outcome: ...

    def judge(self, order: EvaluateEdges) -> EdgesEvaluated: ...

    def complete_step(self, order: CompleteStep) -> None: ...

    def complete_run(self, order: CompleteRun) -> None: ...


def drive(plan: Plan, input: Any, performer: EffectHandler) -> None:
    """Walk a plan to its end. ``complete_run`` is called exactly once, and last."""
    _pump(plan, Started(input=input), performer)


def fail_start(plan: Plan, error: StepError, performer: EffectHandler) -> None:
    """End a run that cannot start."""
    _pump(plan, StartFailed(error=error), performer)


def _pump(plan: Plan, first: MachineEvent, performer: EffectHandler) -> None:
    walk, fact = initial_state(plan), first
    while not walk.completed:
        walk, effects = decide(walk, fact)
        for effect in effects:
            match effect:
                case StartStep():
                    fact = StepFinished(outcome=performer.run_step(effect))
                case EvaluateEdges():
                    fact = performer.judge(effect)
                case CompleteStep():
                    performer.complete_step(effect)
                case CompleteRun():
                    performer.complete_run(effect)
                case _:
                    assert_never(effect)
