"""The machine that walks a plan, by its rules, and against the naive walk of ``reference_walk``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.support.reference_walk import (
    Execution,
    Journey,
    State,
    World,
    has_errored,
    reference_walk,
)
from worker.core.machine import (
    CompleteRun,
    CompleteStep,
    EdgesEvaluated,
    Effect,
    EvaluateEdges,
    IllegalEvent,
    MachineEvent,
    Started,
    StartFailed,
    StartStep,
    StepFinished,
    Walk,
    begin,
    decide,
)
from worker.core.outcome import Outcome, StepError
from worker.core.plan import Plan
from worker.core.status import ERROR_TYPES, Status
from worker.workflow.model import Edge, EdgeKind, Step, StepKind

# --- driving the machine ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Driven:
    """What a driver saw: every fact that it fed, and the effects of each."""

    facts: tuple[MachineEvent, ...]
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


Decide = Callable[[Walk, MachineEvent], tuple[Walk, tuple[Effect, ...]]]


def drive(plan: Plan, world: World, received: State, decide: Decide = decide) -> Driven:
    """Perform every effect in ``world`` until the machine asks for nothing more."""
    walk = begin(plan)
    facts: list[MachineEvent] = []
    batches: list[tuple[Effect, ...]] = []
    execution = 0
    asked: MachineEvent | None = Started(input=received)
    while asked is not None:
        facts.append(asked)
        walk, effects = decide(walk, asked)
        batches.append(effects)
        match effects[-1]:
            case StartStep(step=step, input=incoming, execution=execution):
                asked = StepFinished(outcome=world.run(step.id, execution, incoming))
            case EvaluateEdges() as judge:
                asked = judge_edges(world, judge, codeless_execution(judge, batches, execution))
            case _:
                asked = None
    return Driven(facts=tuple(facts), batches=tuple(batches))


def codeless_execution(
    judge: EvaluateEdges, batches: Sequence[Sequence[Effect]], execution: int
) -> int:
    """The execution whose edges are judged; a step without code is never announced: count them."""
    if judge.step.runs_code:
        return execution
    earlier = [effect for batch in batches[:-1] for effect in batch]
    judged = [effect for effect in earlier if isinstance(effect, EvaluateEdges)]
    return sum(effect.step.id == judge.step.id for effect in judged)


def judge_edges(world: World, judge: EvaluateEdges, execution: int) -> EdgesEvaluated:
    step, state = judge.step, judge.outcome.state
    verdicts: list[bool] = []
    for edge in judge.edges:
        errored = has_errored(state, step.id)
        match edge.kind:
            case EdgeKind.EXPRESSION:
                place = int(edge.label)
                answer, state = world.ask(step.id, place, execution, state)
                if answer == "throws":
                    complaint = world.complaint(step.id, place)
                    return EdgesEvaluated(verdicts=tuple(verdicts), state=state, error=complaint)
                verdicts.append(answer != "no")
            case EdgeKind.SUCCESS:
                verdicts.append(not errored)
            case EdgeKind.FAILURE:
                verdicts.append(errored)
            case _:
                verdicts.append(True)
    return EdgesEvaluated(verdicts=tuple(verdicts), state=state)


def journey(driven: Driven) -> Journey:
    """A driven walk in the terms of the reference."""
    run, states = driven.completion, driven.completion.final_states
    return Journey(
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

DEEDS = ("success", "success", "success", "nothing", "forgets", "confesses")
ERRORS = ("JobError", "TypeError", "RangeError", *ERROR_TYPES, "SomethingUnforeseen")
VERDICTS = ("yes", "yes", "yes", "no", "assigns", "forgives", "throws")
KINDS = (EdgeKind.ALWAYS, EdgeKind.ALWAYS, EdgeKind.EXPRESSION, *EdgeKind)


def plan_of(*steps: Step, start: str = "", end: str = "") -> Plan:
    index = {step.id: place for place, step in enumerate(steps)}
    return Plan(name="test", steps=steps, start=start or steps[0].id, end=end, index=index)


def job(id: str, *edges: Edge, source: str = "fn(s => s)") -> Step:
    return Step(id=id, source=source, edges=tuple(replace(edge, source=id) for edge in edges))


def to(target: str, kind: EdgeKind = EdgeKind.ALWAYS, *, place: int = 0) -> Edge:
    """An edge; its label is its place, by which a ``World`` knows its conditions."""
    return Edge(source="", target=target, kind=kind, label=str(place))


@st.composite
def steps_in_order(draw: st.DrawFn) -> list[Step]:
    """A small acyclic graph in topological order: few edges, because joins multiply."""
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
                label=str(place),
                disabled=draw(st.sampled_from((False, False, False, True))),
            )
            for place, target in enumerate(targets)
        )
        kind = draw(st.sampled_from((StepKind.JOB, StepKind.JOB, StepKind.JOB, StepKind.TRIGGER)))
        source = draw(st.sampled_from(("code", "code", "code", "")))
        steps.append(Step(id=name, kind=kind, source=source, edges=edges))
    return steps


@st.composite
def runs(draw: st.DrawFn) -> tuple[Plan, World]:
    """A plan, written in any order and with any ``start`` and ``end``, and a world to run it in."""
    ordered = draw(steps_in_order())
    names = [step.id for step in ordered]
    plan = plan_of(
        *draw(st.permutations(ordered)),
        start=draw(st.one_of(st.just(names[0]), st.sampled_from(names))),
        end=draw(st.one_of(st.just(""), st.sampled_from([*names, "nobody"]))),
    )
    deed = st.one_of(st.sampled_from(DEEDS), st.sampled_from(DEEDS), st.sampled_from(ERRORS))
    script = st.lists(deed, min_size=1, max_size=3)
    answers = st.lists(st.sampled_from(VERDICTS), min_size=1, max_size=3)
    deeds = {name: draw(script) for name in names}
    verdicts = {
        (step.id, place): draw(answers) for step in ordered for place in range(len(step.edges))
    }
    return plan, World(deeds=deeds, verdicts=verdicts)


@settings(max_examples=400)
@given(runs())
def test_a_walk_equals_the_reference_walk(run: tuple[Plan, World]) -> None:
    """Path, selected edges, states, status, error with its cause, and final state."""
    plan, world = run
    expected = reference_walk(plan, world, {"data": {}})
    event(expected.status)
    assert journey(drive(plan, world, {"data": {}})) == expected


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
def test_the_same_facts_give_the_same_effects(run: tuple[Plan, World]) -> None:
    driven = drive(*run, {})
    walk, batches = begin(run[0]), []
    for fact in driven.facts:
        walk, effects = decide(walk, fact)
        batches.append(effects)
    assert tuple(batches) == driven.batches


@given(runs())
def test_decide_never_changes_the_walk_that_it_is_given(run: tuple[Plan, World]) -> None:
    """Whatever was decided since, an old walk looks the same and decides the same."""
    past: list[tuple[Walk, MachineEvent, tuple[Any, ...], tuple[Effect, ...]]] = []

    def remember(walk: Walk, fact: MachineEvent) -> tuple[Walk, tuple[Effect, ...]]:
        seen = contents(walk)
        after, effects = decide(walk, fact)
        past.append((walk, fact, seen, effects))
        return after, effects

    drive(*run, {}, remember)
    for walk, fact, seen, effects in past:
        assert contents(walk) == seen
        assert decide(walk, fact)[1] == effects


def contents(walk: Walk) -> tuple[Any, ...]:
    return (
        tuple(walk.queue),
        walk.current,
        walk.ran,
        walk.executions.rows,
        walk.leaves,
        walk.completed,
    )


# --- the rules, one by one ----------------------------------------------------------------------


def world_of(
    deeds: dict[str, list[str]], verdicts: dict[tuple[str, int], list[str]] | None = None
) -> World:
    return World(deeds=deeds, verdicts=verdicts or {})


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


def test_a_failure_that_no_edge_follows_fails_the_run() -> None:
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
        id="t", kind=StepKind.TRIGGER, edges=(to("a", EdgeKind.EXPRESSION), to("b", place=1))
    )
    driven = drive(plan_of(trigger, *map(job, "ab")), world_of({}, {("t", 0): ["throws"]}), {})
    assert driven.started == []
    assert driven.completed == []
    assert driven.completion.status is Status.CRASHED


def test_what_a_condition_assigns_travels_on_through_every_edge() -> None:
    plan = plan_of(job("a", to("b"), to("c", EdgeKind.EXPRESSION, place=1)), job("b"), job("c"))
    world = world_of({name: ["success"] for name in "abc"}, {("a", 1): ["assigns"]})
    inputs = [
        effect.input for effect in drive(plan, world, {}).effects if isinstance(effect, StartStep)
    ]
    assert inputs[1:] == [{"trail": ["a"], "marks": ["a.1"]}] * 2


def test_edges_without_expressions_are_judged_without_asking() -> None:
    plan = plan_of(job("a", to("b", EdgeKind.SUCCESS), to("c", EdgeKind.FAILURE)), *map(job, "bc"))
    effects = drive(plan, world_of({"a": ["success"], "b": ["success"]}), {}).effects
    assert not any(isinstance(effect, EvaluateEdges) for effect in effects)


def test_disabled_edges_and_never_are_not_put_to_the_judge() -> None:
    off = replace(to("b", EdgeKind.EXPRESSION), disabled=True)
    plan = plan_of(
        job("a", off, to("b", EdgeKind.NEVER, place=1), to("b", EdgeKind.EXPRESSION, place=2)),
        job("b"),
    )
    effects = drive(plan, world_of({"a": ["success"]}, {("a", 2): ["no"]}), {}).effects
    [judge] = [effect for effect in effects if isinstance(effect, EvaluateEdges)]
    assert [edge.label for edge in judge.edges] == ["2"]


def test_a_leaf_that_returned_nothing_is_dropped_and_is_a_success() -> None:
    plan = plan_of(job("a", to("b"), to("c")), job("b"), job("c"))
    driven = drive(plan, world_of({"a": ["success"], "b": ["nothing"], "c": ["success"]}), {})
    assert [leaf.key for leaf in driven.completion.leaves] == ["b", "c"]
    assert list(driven.completion.final_states) == ["c"]
    assert driven.completion.status is Status.SUCCESS


def test_a_trigger_whose_edges_all_say_no_is_a_leaf_with_the_input() -> None:
    trigger = Step(id="t", kind=StepKind.TRIGGER, edges=(to("a", EdgeKind.NEVER),))
    driven = drive(plan_of(trigger, job("a")), world_of({}), {"data": 1})
    assert driven.effects == (driven.completion,)
    assert driven.completion.final_states == {"t": {"data": 1}}


def test_a_refused_run_completes_with_its_error_and_runs_nothing() -> None:
    error = StepError(type="ValidationError", message="cycle")
    _, effects = decide(begin(plan_of(job("a"))), StartFailed(error=error))
    assert effects == (CompleteRun(status=Status.CRASHED, error=error),)


def test_a_step_named_like_the_second_execution_of_another_loses_no_leaf() -> None:
    plan = plan_of(job("a", to("x-1"), to("x"), to("x")), job("x"), job("x-1"))
    driven = drive(plan, world_of({name: ["success"] for name in ("a", "x", "x-1")}), {})
    assert len(driven.completion.final_states) == 3


# --- facts out of turn --------------------------------------------------------------------------

RAN = StepFinished(outcome=Outcome(state={}))
JUDGED = EdgesEvaluated(verdicts=(True,), state={})
STARTED = Started(input={})
REFUSED = StartFailed(error=StepError(type="ValidationError", message="no"))
ASKING = plan_of(job("a", to("b", EdgeKind.EXPRESSION)), job("b"))


def walk_after(*facts: MachineEvent) -> Walk:
    walk = begin(ASKING)
    for fact in facts:
        walk, _ = decide(walk, fact)
    return walk


BEGUN, RUNNING, JUDGING = (), (STARTED,), (STARTED, RAN)
DONE = (STARTED, RAN, JUDGED, RAN)


@pytest.mark.parametrize(
    ("past", "fact"),
    [
        pytest.param(BEGUN, RAN, id="an outcome before the run started"),
        pytest.param(BEGUN, JUDGED, id="verdicts before the run started"),
        pytest.param(RUNNING, JUDGED, id="verdicts while a step runs"),
        pytest.param(RUNNING, STARTED, id="a second start while a step runs"),
        pytest.param(RUNNING, REFUSED, id="a refusal while a step runs"),
        pytest.param(JUDGING, RAN, id="a second outcome of one execution"),
        pytest.param(JUDGING, STARTED, id="a second start while edges are judged"),
        pytest.param(JUDGING, REFUSED, id="a refusal while edges are judged"),
        pytest.param(DONE, RAN, id="an outcome after the end"),
        pytest.param(DONE, JUDGED, id="verdicts after the end"),
        pytest.param(DONE, STARTED, id="a start after the end"),
        pytest.param(DONE, REFUSED, id="a refusal after the end"),
    ],
)
def test_a_fact_out_of_turn_is_illegal(past: tuple[MachineEvent, ...], fact: MachineEvent) -> None:
    with pytest.raises(IllegalEvent):
        decide(walk_after(*past), fact)


@pytest.mark.parametrize("verdicts", [(), (True, True)], ids=["too few", "too many"])
def test_verdicts_that_do_not_match_the_edges_are_never_guessed(verdicts: tuple[bool, ...]) -> None:
    with pytest.raises(IllegalEvent):
        decide(walk_after(*JUDGING), EdgesEvaluated(verdicts=verdicts, state={}))


# --- large plans --------------------------------------------------------------------------------

MANY = 5_000


def count_decisions(plan: Plan, outcome: Outcome) -> tuple[int, CompleteRun]:
    """Drive a plan whose steps all end alike and whose conditions all hold."""
    walk, (*_, last) = decide(begin(plan), STARTED)
    decisions = 1
    while not isinstance(last, CompleteRun):
        answer: MachineEvent = StepFinished(outcome=outcome)
        if isinstance(last, EvaluateEdges):
            answer = EdgesEvaluated(verdicts=(True,) * len(last.edges), state=outcome.state)
        walk, (*_, last) = decide(walk, answer)
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
