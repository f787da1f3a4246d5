"""The driver: performs what the machine orders, and feeds every answer back as a fact."""

from __future__ import annotations

from typing import Any, Protocol, assert_never

from worker.core.machine import (
    CompleteRun,
    CompleteStep,
    EdgesJudged,
    Fact,
    JudgeEdges,
    Refused,
    Started,
    StartStep,
    StepRan,
    begin,
    decide,
)
from worker.core.outcome import Outcome, StepError
from worker.core.plan import Plan


class Performer(Protocol):
    """Executes steps and conditions, and hears what is complete."""

    def run_step(self, order: StartStep) -> Outcome: ...

    def judge(self, order: JudgeEdges) -> EdgesJudged: ...

    def complete_step(self, order: CompleteStep) -> None: ...

    def complete_run(self, order: CompleteRun) -> None: ...


def drive(plan: Plan, input: Any, performer: Performer) -> None:
    """Walk a plan to its end. ``complete_run`` is called exactly once, and last."""
    _pump(plan, Started(input=input), performer)


def refuse(plan: Plan, error: StepError, performer: Performer) -> None:
    """End a run that cannot start."""
    _pump(plan, Refused(error=error), performer)


def _pump(plan: Plan, first: Fact, performer: Performer) -> None:
    walk, fact = begin(plan), first
    while not walk.completed:
        walk, effects = decide(walk, fact)
        for effect in effects:
            match effect:
                case StartStep():
                    fact = StepRan(outcome=performer.run_step(effect))
                case JudgeEdges():
                    fact = performer.judge(effect)
                case CompleteStep():
                    performer.complete_step(effect)
                case CompleteRun():
                    performer.complete_run(effect)
                case _:
                    assert_never(effect)
