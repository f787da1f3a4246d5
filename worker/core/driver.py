"""Driver of the machine: performs its effects, and feeds each answer back as an event."""

from __future__ import annotations

from typing import Protocol, assert_never

from worker.core.machine import (
    CompleteRun,
    CompleteStep,
    EdgesEvaluated,
    EvaluateEdges,
    MachineEvent,
    Phase,
    Started,
    StartFailed,
    StartStep,
    StepFinished,
    decide,
    initial_state,
)
from worker.core.outcome import Outcome
from worker.core.plan import Plan


class EffectHandler(Protocol):
    """Executes steps, evaluates edges, and receives what is complete."""

    def run_step(self, effect: StartStep) -> Outcome: ...

    def evaluate_edges(self, effect: EvaluateEdges) -> EdgesEvaluated: ...

    def complete_step(self, effect: CompleteStep) -> None: ...

    def complete_run(self, effect: CompleteRun) -> None: ...


def drive(
    plan: Plan, start: Started | StartFailed, handler: EffectHandler, max_executions: int
) -> None:
    """Run a plan to its end. ``complete_run`` is called exactly once, and last.

    A run that needs more than ``max_executions`` of steps is killed.
    """
    state = initial_state(plan, max_executions)
    event: MachineEvent = start
    # The last effect of a decision gives the next event, so the loop never lacks one.
    while state.phase is not Phase.COMPLETED:
        state, effects = decide(state, event)
        for effect in effects:
            match effect:
                case StartStep():
                    event = StepFinished(outcome=handler.run_step(effect))
                case EvaluateEdges():
                    event = handler.evaluate_edges(effect)
                case CompleteStep():
                    handler.complete_step(effect)
                case CompleteRun():
                    handler.complete_run(effect)
                case _:
                    assert_never(effect)
