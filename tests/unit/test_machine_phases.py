"""The machine: the phases and the events that they accept, and large plans."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from tests.support.machine_runs import drive, job, plan_of, runs, to
from tests.support.reference_walk import World
from worker.core.machine import (
    TRANSITIONS,
    CompleteRun,
    EdgesEvaluated,
    EvaluateEdges,
    IllegalEvent,
    MachineEvent,
    MachineState,
    Phase,
    Started,
    StartFailed,
    StepFinished,
    apply_event,
    decide,
    initial_state,
)
from worker.core.outcome import Outcome, StepError
from worker.core.plan import Plan
from worker.core.status import Status
from worker.workflow.model import EdgeKind

# --- phases and the events that they accept ---------------------------------------------------

FINISHED = StepFinished(outcome=Outcome(state={}))
EVALUATED = EdgesEvaluated(taken=(True,), state={})
STARTED = Started(input={})
START_FAILED = StartFailed(error=StepError(type="ValidationError", message="no"))
WITH_CONDITION = plan_of(job("a", to("b", EdgeKind.EXPRESSION)), job("b"))

NOT_STARTED, EXECUTING, EVALUATING = (), (STARTED,), (STARTED, FINISHED)
COMPLETED = (STARTED, FINISHED, EVALUATED, FINISHED)
ABORTED = (STARTED, StepFinished(outcome=Outcome(state=None, error=START_FAILED.error)))
FAILED_TO_START = (START_FAILED,)


def state_after(*events: MachineEvent) -> MachineState:
    state = initial_state(WITH_CONDITION)
    for event in events:
        state, _ = decide(state, event)
    return state


@pytest.mark.parametrize(
    ("past", "event", "message"),
    [
        *((NOT_STARTED, event, "before the run started") for event in (FINISHED, EVALUATED)),
        *(
            (EXECUTING, event, "while step 'a' runs")
            for event in (STARTED, START_FAILED, EVALUATED)
        ),
        *(
            (EVALUATING, event, "while the edges of step 'a' are evaluated")
            for event in (STARTED, START_FAILED, FINISHED)
        ),
        *(
            (past, event, "after the run completed")
            for past in (COMPLETED, ABORTED, FAILED_TO_START)
            for event in (STARTED, START_FAILED, FINISHED, EVALUATED)
        ),
    ],
)
def test_an_event_that_the_phase_does_not_accept_is_illegal(
    past: tuple[MachineEvent, ...], event: MachineEvent, message: str
) -> None:
    with pytest.raises(IllegalEvent) as raised:
        decide(state_after(*past), event)
    assert str(raised.value) == f"{type(event).__name__} is not expected {message}"


@pytest.mark.parametrize(
    ("past", "phase"),
    [
        (NOT_STARTED, Phase.NOT_STARTED),
        (EXECUTING, Phase.EXECUTING_STEP),
        (EVALUATING, Phase.EVALUATING_EDGES),
        (COMPLETED, Phase.COMPLETED),
        (ABORTED, Phase.COMPLETED),
        (FAILED_TO_START, Phase.COMPLETED),
    ],
)
def test_the_phase_is_what_the_run_waits_for(past: tuple[MachineEvent, ...], phase: Phase) -> None:
    assert state_after(*past).phase is phase


TABLE = {
    (phase, event, target)
    for phase, targets_by_event in TRANSITIONS.items()
    for event, targets in targets_by_event.items()
    for target in targets
}


def transitions(plan: Plan, events: Sequence[MachineEvent]) -> set[tuple[Phase, type, Phase]]:
    """Return the transitions that events cause, with those that need no driver."""
    state, caused = initial_state(plan), set()
    for event in events:
        following: MachineEvent | None = event
        while following is not None:
            before, event_type = state.phase, type(following)
            state, following, _ = apply_event(state, following)
            caused.add((before, event_type, state.phase))
    return caused


@given(runs())
def test_every_transition_is_in_the_table(run: tuple[Plan, World]) -> None:
    assert transitions(run[0], drive(*run, {}).events) <= TABLE


def test_every_transition_in_the_table_happens() -> None:
    runs = (COMPLETED, ABORTED, FAILED_TO_START)
    assert set().union(*(transitions(WITH_CONDITION, events) for events in runs)) == TABLE


@pytest.mark.parametrize("taken", [(), (True, True)], ids=["too few", "too many"])
def test_results_that_do_not_match_the_edges_are_illegal(taken: tuple[bool, ...]) -> None:
    with pytest.raises(IllegalEvent, match=f"has {len(taken)} results for the 1 edges of step 'a'"):
        decide(state_after(*EVALUATING), EdgesEvaluated(taken=taken, state={}))


# --- large plans --------------------------------------------------------------------------------

MANY = 5_000


def count_decisions(plan: Plan, outcome: Outcome) -> tuple[int, CompleteRun]:
    """Drive a plan whose steps all end alike and whose conditions all hold."""
    state, (*_, last) = decide(initial_state(plan), STARTED)
    decisions = 1
    while not isinstance(last, CompleteRun):
        event: MachineEvent = StepFinished(outcome=outcome)
        if isinstance(last, EvaluateEdges):
            event = EdgesEvaluated(taken=(True,) * len(last.edges), state=outcome.state)
        state, (*_, last) = decide(state, event)
        decisions += 1
    return decisions, last


def chain(kind: EdgeKind, source: str) -> Plan:
    inner = (job(f"s{n}", to(f"s{n + 1}", kind), source=source) for n in range(MANY - 1))
    return plan_of(*inner, job(f"s{MANY - 1}", source=source))


def test_a_long_chain_takes_one_decision_per_step() -> None:
    decisions, done = count_decisions(chain(EdgeKind.ALWAYS, "code"), Outcome(state={}))
    assert decisions == MANY + 1
    assert list(done.final_states) == [f"s{MANY - 1}"]


def test_a_long_chain_of_conditions_takes_two_decisions_per_edge() -> None:
    decisions, done = count_decisions(chain(EdgeKind.EXPRESSION, "code"), Outcome(state={}))
    assert decisions == 1 + MANY + (MANY - 1)
    assert done.status is Status.SUCCESS


def test_a_long_chain_without_code_takes_a_single_decision() -> None:
    decisions, done = count_decisions(chain(EdgeKind.ALWAYS, ""), Outcome(state={}))
    assert decisions == 1
    assert done.final_states == {f"s{MANY - 1}": {}}


def test_a_wide_star_takes_one_decision_per_step_and_keeps_every_leaf_in_order() -> None:
    names = [f"s{n}" for n in range(MANY)]
    plan = plan_of(job("hub", *(to(name) for name in names)), *(job(name) for name in names))
    decisions, done = count_decisions(plan, Outcome(state={}))
    assert decisions == MANY + 2
    assert [leaf.key for leaf in done.leaves] == names


@pytest.mark.slow
def test_a_step_that_is_activated_many_times_has_as_many_leaf_keys() -> None:
    plan = plan_of(job("hub", *(to("x") for _ in range(MANY))), job("x"))
    _, done = count_decisions(plan, Outcome(state={}))
    assert [leaf.key for leaf in done.leaves] == ["x", *(f"x-{n}" for n in range(1, MANY))]
