"""The machine: its rules one by one, and compared with the naive walk of ``reference_walk``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import event as label
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.reference_walk import (
    Execution,
    State,
    WalkResult,
    World,
    has_errored,
    reference_walk,
)
from worker.core.machine import (
    TRANSITIONS,
    CompleteRun,
    CompleteStep,
    EdgesEvaluated,
    Effect,
    EvaluateEdges,
    IllegalEvent,
    MachineEvent,
    MachineState,
    Phase,
    Started,
    StartFailed,
    StartStep,
    StepFinished,
    apply_event,
    decide,
    initial_state,
)
from worker.core.outcome import Outcome, StepError
from worker.core.plan import Plan
from worker.core.status import ERROR_TYPES, Status
from worker.workflow.model import Edge, EdgeKind, Step, StepKind

# --- driving the machine ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Driven:
    """A driven run: every event, and the effects that it caused."""

    events: tuple[MachineEvent, ...]
    batches: tuple[tuple[Effect, ...], ...]

    @property
    def effects(self) -> tuple[Effect, ...]:
        return tuple(effect for batch in self.batches for effect in batch)

    @property
    def completion(self) -> CompleteRun:
        return next(effect for effect in self.effects if isinstance(effect, CompleteRun))

    @property
    def started(self) -> list[str]:
        return [effect.step.id for effect in self.effects if isinstance(effect, StartStep)]

    @property
    def completed(self) -> list[CompleteStep]:
        return [effect for effect in self.effects if isinstance(effect, CompleteStep)]


Decide = Callable[[MachineState, MachineEvent], tuple[MachineState, tuple[Effect, ...]]]


def drive(plan: Plan, world: World, input: State, decide: Decide = decide) -> Driven:
    """Perform every effect in ``world`` until the run is complete."""
    state = initial_state(plan)
    events: list[MachineEvent] = []
    batches: list[tuple[Effect, ...]] = []
    execution = 0
    event: MachineEvent | None = Started(input=input)
    while event is not None:
        events.append(event)
        state, effects = decide(state, event)
        batches.append(effects)
        match effects[-1]:
            case StartStep(step=step, input=step_input, execution=execution):
                event = StepFinished(outcome=world.run(step.id, execution, step_input))
            case EvaluateEdges() as effect:
                event = evaluate_edges(world, effect, execution_of(effect, batches, execution))
            case _:
                event = None
    return Driven(events=tuple(events), batches=tuple(batches))


def execution_of(effect: EvaluateEdges, batches: Sequence[Sequence[Effect]], execution: int) -> int:
    """Return the execution whose edges are evaluated. Steps without code cause no StartStep."""
    if effect.step.runs_code:
        return execution
    earlier = [effect for batch in batches[:-1] for effect in batch]
    evaluated = [effect for effect in earlier if isinstance(effect, EvaluateEdges)]
    return sum(other.step.id == effect.step.id for other in evaluated)


def evaluate_edges(world: World, effect: EvaluateEdges, execution: int) -> EdgesEvaluated:
    step, state = effect.step, effect.outcome.state
    taken: list[bool] = []
    for edge in effect.edges:
        errored = has_errored(state, step.id)
        match edge.kind:
            case EdgeKind.EXPRESSION:
                edge_index = int(edge.label)
                result, state = world.evaluate(step.id, edge_index, execution, state)
                if result == "throws":
                    error = world.condition_error(step.id, edge_index)
                    return EdgesEvaluated(taken=tuple(taken), state=state, error=error)
                taken.append(result != "false")
            case EdgeKind.SUCCESS:
                taken.append(not errored)
            case EdgeKind.FAILURE:
                taken.append(errored)
            case _:
                taken.append(True)
    return EdgesEvaluated(taken=tuple(taken), state=state)


def walk_result(driven: Driven) -> WalkResult:
    """Return a driven run in the terms of the reference."""
    run, states = driven.completion, driven.completion.final_states
    return WalkResult(
        path=tuple(
            Execution(
                step=done.step.id,
                error=done.outcome.error,
                state=done.outcome.state,
                next=done.next,
            )
            for done in driven.completed
        ),
        status=run.status.value,
        error=run.error,
        final_state=states if len(states) > 1 else next(iter(states.values()), None),
    )


# --- random workflows in random worlds ----------------------------------------------------------

EXECUTIONS = ("success", "success", "success", "nothing", "drops errors", "sets error")
ERRORS = ("JobError", "TypeError", "RangeError", *ERROR_TYPES, "SomethingUnforeseen")
CONDITIONS = ("true", "true", "true", "false", "assigns", "clears error", "throws")
KINDS = (EdgeKind.ALWAYS, EdgeKind.ALWAYS, EdgeKind.EXPRESSION, *EdgeKind)


def plan_of(*steps: Step, start: str = "", end: str = "") -> Plan:
    index = {step.id: place for place, step in enumerate(steps)}
    return Plan(name="test", steps=steps, start=start or steps[0].id, end=end, index=index)


def job(id: str, *edges: Edge, source: str = "fn(s => s)") -> Step:
    return Step(id=id, source=source, edges=tuple(replace(edge, source=id) for edge in edges))


def to(target: str, kind: EdgeKind = EdgeKind.ALWAYS, *, index: int = 0) -> Edge:
    """Return an edge whose label is its index, by which a ``World`` identifies its condition."""
    return Edge(source="", target=target, kind=kind, label=str(index))


@st.composite
def steps_in_order(draw: st.DrawFn) -> list[Step]:
    """Draw a small acyclic graph in topological order; few edges, because joins multiply."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 6)))]
    steps = []
    for at, name in enumerate(names):
        later = names[at + 1 :]
        targets = draw(st.lists(st.sampled_from(later), max_size=3)) if later else []
        edges = tuple(
            Edge(
                source=name,
                target=target,
                kind=draw(st.sampled_from(KINDS)),
                label=str(index),
                disabled=draw(st.sampled_from((False, False, False, True))),
            )
            for index, target in enumerate(targets)
        )
        kind = draw(st.sampled_from((StepKind.JOB, StepKind.JOB, StepKind.JOB, StepKind.TRIGGER)))
        source = draw(st.sampled_from(("code", "code", "code", "")))
        steps.append(Step(id=name, kind=kind, source=source, edges=edges))
    return steps


@st.composite
def runs(draw: st.DrawFn) -> tuple[Plan, World]:
    """Draw a plan, in any order and with any ``start`` and ``end``, and a world to run it in."""
    ordered = draw(steps_in_order())
    names = [step.id for step in ordered]
    plan = plan_of(
        *draw(st.permutations(ordered)),
        start=draw(st.one_of(st.just(names[0]), st.sampled_from(names))),
        end=draw(st.one_of(st.just(""), st.sampled_from([*names, "nobody"]))),
    )
    regular = st.sampled_from(EXECUTIONS)
    executions = st.lists(
        st.one_of(regular, regular, st.sampled_from(ERRORS)), min_size=1, max_size=3
    )
    results = st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3)
    world = World(
        executions={name: draw(executions) for name in names},
        conditions={
            (step.id, index): draw(results) for step in ordered for index in range(len(step.edges))
        },
    )
    return plan, world


@settings(max_examples=400)
@given(runs())
def test_a_walk_equals_the_reference_walk(run: tuple[Plan, World]) -> None:
    """Path, selected edges, states, status, error with its cause, and final state."""
    plan, world = run
    expected = reference_walk(plan, world, {"data": {}})
    label(expected.status)
    assert walk_result(drive(plan, world, {"data": {}})) == expected


@given(runs())
def test_exactly_one_complete_run_and_it_is_last(run: tuple[Plan, World]) -> None:
    *earlier, last = drive(*run, {}).effects
    assert isinstance(last, CompleteRun)
    assert not any(isinstance(effect, CompleteRun) for effect in earlier)


@given(runs())
def test_no_step_starts_after_an_abort(run: tuple[Plan, World]) -> None:
    """The completion of an aborted step is followed by the completion of the run alone."""
    effects = drive(*run, {}).effects
    aborted = [
        place
        for place, effect in enumerate(effects)
        if isinstance(effect, CompleteStep) and effect.outcome.error and effect.outcome.error.aborts
    ]
    for place in aborted:
        assert [type(effect) for effect in effects[place + 1 :]] == [CompleteRun]


@given(runs())
def test_an_aborted_run_has_no_leaves_and_any_other_run_has_some(run: tuple[Plan, World]) -> None:
    done = drive(*run, {}).completion
    assert bool(done.leaves) == (done.status in (Status.SUCCESS, Status.FAILED))


@given(runs())
def test_every_started_step_completes_before_the_next_starts(run: tuple[Plan, World]) -> None:
    effects = drive(*run, {}).effects
    steps = [effect for effect in effects if isinstance(effect, StartStep | CompleteStep)]
    assert len(steps) % 2 == 0
    for started, completed in zip(steps[::2], steps[1::2], strict=True):
        assert isinstance(started, StartStep)
        assert isinstance(completed, CompleteStep)
        assert started.step is completed.step


@given(runs())
def test_executions_of_a_step_are_counted_from_zero_without_a_gap(run: tuple[Plan, World]) -> None:
    counts: dict[str, int] = {}
    for effect in drive(*run, {}).effects:
        if isinstance(effect, StartStep):
            assert effect.execution == counts.get(effect.step.id, 0)
            counts[effect.step.id] = effect.execution + 1


@given(runs())
def test_only_the_last_effect_of_a_decision_waits_for_an_answer(run: tuple[Plan, World]) -> None:
    for batch in drive(*run, {}).batches:
        assert isinstance(batch[-1], StartStep | EvaluateEdges | CompleteRun)
        assert all(isinstance(effect, CompleteStep) for effect in batch[:-1])


@given(runs())
def test_the_same_events_cause_the_same_effects(run: tuple[Plan, World]) -> None:
    driven = drive(*run, {})
    state, batches = initial_state(run[0]), []
    for event in driven.events:
        state, effects = decide(state, event)
        batches.append(effects)
    assert tuple(batches) == driven.batches


@given(runs())
def test_decide_never_changes_the_state_that_it_is_called_with(run: tuple[Plan, World]) -> None:
    """Whatever was decided since, an old state has the same content and decides the same."""
    past: list[tuple[MachineState, MachineEvent, tuple[Any, ...], tuple[Effect, ...]]] = []

    def record(state: MachineState, event: MachineEvent) -> tuple[MachineState, tuple[Effect, ...]]:
        before = contents(state)
        after, effects = decide(state, event)
        past.append((state, event, before, effects))
        return after, effects

    drive(*run, {}, record)
    for state, event, before, effects in past:
        assert contents(state) == before
        assert decide(state, event)[1] == effects


def contents(state: MachineState) -> tuple[Any, ...]:
    return (
        tuple(state.queue),
        state.phase,
        state.step,
        state.outcome,
        state.executions.rows,
        state.leaves,
    )


# --- the rules, one by one ----------------------------------------------------------------------


def world_of(
    executions: dict[str, list[str]], conditions: dict[tuple[str, int], list[str]] | None = None
) -> World:
    return World(executions=executions, conditions=conditions or {})


def test_a_walk_is_breadth_first_in_the_order_of_the_edges() -> None:
    plan = plan_of(job("a", to("c"), to("b")), job("b"), job("c", to("d")), job("d"))
    driven = drive(plan, world_of({name: ["success"] for name in "abcd"}), {})
    assert driven.started == ["a", "c", "b", "d"]


def test_a_join_runs_once_per_activation_and_its_second_leaf_key_is_x_1() -> None:
    plan = plan_of(job("a", to("b"), to("c")), job("b", to("x")), job("c", to("x")), job("x"))
    driven = drive(plan, world_of({name: ["success"] for name in "abcx"}), {})
    assert driven.completion.final_states == {
        "x": {"trail": ["a", "b", "x"]},
        "x-1": {"trail": ["a", "c", "x"]},
    }


def test_two_edges_to_the_same_target_are_two_activations() -> None:
    plan = plan_of(job("a", to("b"), to("b")), job("b"))
    driven = drive(plan, world_of({"a": ["success"], "b": ["success"]}), {})
    assert driven.started == ["a", "b", "b"]


def test_a_handled_failure_leaves_the_run_a_success() -> None:
    plan = plan_of(job("a", to("b", EdgeKind.SUCCESS), to("c", EdgeKind.FAILURE)), *map(job, "bc"))
    driven = drive(plan, world_of({"a": ["JobError"], "c": ["success"]}), {})
    assert driven.started == ["a", "c"]
    assert driven.completion.status is Status.SUCCESS


def test_a_failure_after_which_no_edge_is_taken_fails_the_run() -> None:
    plan = plan_of(job("a", to("b", EdgeKind.SUCCESS)), job("b"))
    completion = drive(plan, world_of({"a": ["TypeError"]}), {}).completion
    assert completion.status is Status.FAILED
    assert completion.error and (completion.error.type, completion.error.job_id) == (
        "TypeError",
        "a",
    )


def test_a_join_that_fails_once_fails_the_run() -> None:
    plan = plan_of(job("a", to("x"), to("x")), job("x"))
    driven = drive(plan, world_of({"a": ["success"], "x": ["success", "JobError"]}), {})
    assert driven.completion.status is Status.FAILED


def test_the_first_failing_leaf_in_plan_order_gives_the_error() -> None:
    """Not in the order of execution: ``c`` ran first, and ``b`` stands first in the plan."""
    plan = plan_of(job("a", to("c"), to("b")), job("b"), job("c"))
    driven = drive(plan, world_of({"a": ["success"], "b": ["RangeError"], "c": ["JobError"]}), {})
    assert driven.started == ["a", "c", "b"]
    assert driven.completion.error and driven.completion.error.type == "RangeError"


@pytest.mark.parametrize(
    "type", [name for name, status in ERROR_TYPES.items() if status is not Status.FAILED]
)
def test_an_abort_drops_queued_siblings_and_failure_edges(type: str) -> None:
    plan = plan_of(
        job("a", to("b"), to("c")), job("b", to("d", EdgeKind.FAILURE)), job("c"), job("d")
    )
    driven = drive(plan, world_of({"a": ["success"], "b": [type]}), {})
    assert driven.started == ["a", "b"]
    assert driven.completion.status is ERROR_TYPES[type]
    assert driven.completion.leaves == ()


def test_an_error_outside_of_the_table_is_an_exception() -> None:
    completion = drive(plan_of(job("a")), world_of({"a": ["KeyError"]}), {}).completion
    assert completion.status is Status.EXCEPTION


def test_end_stops_with_others_queued_and_reports_what_its_edges_selected() -> None:
    plan = plan_of(job("a", to("b"), to("c")), job("b", to("d")), job("c"), job("d"), end="b")
    driven = drive(plan, world_of({"a": ["success"], "b": ["success"]}), {})
    assert driven.started == ["a", "b"]
    assert [done.next for done in driven.completed] == [("b", "c"), ("d",)]
    assert list(driven.completion.final_states) == ["b"]


def test_a_condition_that_throws_crashes_its_source_and_keeps_the_steps_own_error() -> None:
    plan = plan_of(job("a", to("b", EdgeKind.EXPRESSION)), job("b"))
    driven = drive(plan, world_of({"a": ["JobError"]}, {("a", 0): ["throws"]}), {})
    [done], run = driven.completed, driven.completion
    assert run.status is Status.CRASHED
    assert run.error == done.outcome.error
    assert run.error and (run.error.type, run.error.job_id) == ("EdgeConditionError", "a")
    assert run.error.cause and run.error.cause.type == "JobError"
    assert done.next == ()


def test_a_condition_of_a_trigger_that_throws_crashes_the_run_without_a_step() -> None:
    trigger = Step(
        id="t", kind=StepKind.TRIGGER, edges=(to("a", EdgeKind.EXPRESSION), to("b", index=1))
    )
    driven = drive(plan_of(trigger, *map(job, "ab")), world_of({}, {("t", 0): ["throws"]}), {})
    assert driven.started == []
    assert driven.completed == []
    assert driven.completion.status is Status.CRASHED


def test_what_a_condition_assigns_is_passed_on_along_every_edge() -> None:
    plan = plan_of(job("a", to("b"), to("c", EdgeKind.EXPRESSION, index=1)), job("b"), job("c"))
    world = world_of({name: ["success"] for name in "abc"}, {("a", 1): ["assigns"]})
    inputs = [
        effect.input for effect in drive(plan, world, {}).effects if isinstance(effect, StartStep)
    ]
    assert inputs[1:] == [{"trail": ["a"], "marks": ["a.1"]}] * 2


def test_edges_without_expressions_are_evaluated_by_the_machine_itself() -> None:
    plan = plan_of(job("a", to("b", EdgeKind.SUCCESS), to("c", EdgeKind.FAILURE)), *map(job, "bc"))
    effects = drive(plan, world_of({"a": ["success"], "b": ["success"]}), {}).effects
    assert not any(isinstance(effect, EvaluateEdges) for effect in effects)


def test_disabled_edges_and_never_are_not_evaluated() -> None:
    off = replace(to("b", EdgeKind.EXPRESSION), disabled=True)
    plan = plan_of(
        job("a", off, to("b", EdgeKind.NEVER, index=1), to("b", EdgeKind.EXPRESSION, index=2)),
        job("b"),
    )
    effects = drive(plan, world_of({"a": ["success"]}, {("a", 2): ["false"]}), {}).effects
    [evaluate] = [effect for effect in effects if isinstance(effect, EvaluateEdges)]
    assert [edge.label for edge in evaluate.edges] == ["2"]


def test_a_leaf_that_returned_nothing_is_dropped_and_is_a_success() -> None:
    plan = plan_of(job("a", to("b"), to("c")), job("b"), job("c"))
    driven = drive(plan, world_of({"a": ["success"], "b": ["nothing"], "c": ["success"]}), {})
    assert [leaf.key for leaf in driven.completion.leaves] == ["b", "c"]
    assert list(driven.completion.final_states) == ["c"]
    assert driven.completion.status is Status.SUCCESS


def test_a_trigger_with_no_edge_taken_is_a_leaf_with_the_input() -> None:
    trigger = Step(id="t", kind=StepKind.TRIGGER, edges=(to("a", EdgeKind.NEVER),))
    driven = drive(plan_of(trigger, job("a")), world_of({}), {"data": 1})
    assert driven.effects == (driven.completion,)
    assert driven.completion.final_states == {"t": {"data": 1}}


def test_a_run_that_fails_to_start_completes_with_its_error_and_runs_nothing() -> None:
    error = StepError(type="ValidationError", message="cycle")
    _, effects = decide(initial_state(plan_of(job("a"))), StartFailed(error=error))
    assert effects == (CompleteRun(status=Status.CRASHED, error=error),)


def test_a_step_named_like_the_second_execution_of_another_loses_no_leaf() -> None:
    plan = plan_of(job("a", to("x-1"), to("x"), to("x")), job("x"), job("x-1"))
    driven = drive(plan, world_of({name: ["success"] for name in ("a", "x", "x-1")}), {})
    assert len(driven.completion.final_states) == 3


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


def test_a_step_that_is_activated_many_times_has_as_many_leaf_keys() -> None:
    plan = plan_of(job("hub", *(to("x") for _ in range(MANY))), job("x"))
    _, done = count_decisions(plan, Outcome(state={}))
    assert [leaf.key for leaf in done.leaves] == ["x", *(f"x-{n}" for n in range(1, MANY))]
