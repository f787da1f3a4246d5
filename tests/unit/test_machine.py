"""The machine: its rules one by one, and compared with the naive walk of ``reference_walk``."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event as label
from hypothesis import given, settings
from msgspec.structs import replace

from tests.support.examples import examples
from tests.support.machine_runs import drive, job, plan_of, runs, to, walk_result
from tests.support.reference_walk import World, reference_walk
from worker.core.machine import (
    CompleteRun,
    CompleteStep,
    Effect,
    EvaluateEdges,
    MachineEvent,
    MachineState,
    StartFailed,
    StartStep,
    decide,
    initial_state,
)
from worker.core.outcome import StepError
from worker.core.plan import Plan
from worker.core.status import ERROR_TYPES, Status
from worker.workflow.model import EdgeKind, Step, StepKind

# --- random workflows in random worlds ----------------------------------------------------------


@settings(max_examples=examples(400))
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


def test_a_failure_whose_only_target_end_kept_from_running_fails_the_run() -> None:
    plan = plan_of(
        job("r", to("p"), to("e")), job("p", to("q", EdgeKind.FAILURE)), job("q"), job("e"), end="e"
    )
    world = world_of({"r": ["success"], "p": ["JobError"], "e": ["success"]})
    driven = drive(plan, world, {})
    assert driven.started == ["r", "p", "e"]
    error = driven.completion.error
    assert driven.completion.status is Status.FAILED
    assert error is not None and error.type == "JobError"


def test_a_failure_that_led_to_the_end_fails_no_run_though_a_second_target_waits() -> None:
    handlers = to("e", EdgeKind.FAILURE), to("q", EdgeKind.FAILURE)
    plan = plan_of(job("p", *handlers), job("q"), job("e"), end="e")
    driven = drive(plan, world_of({"p": ["JobError"], "e": ["success"]}), {})
    assert driven.started == ["p", "e"]
    assert driven.completion.status is Status.SUCCESS


@pytest.mark.parametrize("most", range(1, 6))
def test_a_run_executes_so_many_steps_and_no_more(most: int) -> None:
    plan = plan_of(job("a", to("b")), job("b", to("c")), job("c", to("d")), job("d"))
    world = world_of({name: ["success"] for name in "abcd"})
    driven = drive(plan, world, {}, max_executions=most)
    assert driven.started == list("abcd"[:most])
    error = driven.completion.error
    if most >= 4:
        assert error is None
    else:
        assert error is not None and error.type == "StepLimitError"
        assert f"and '{'abcd'[most]}' would follow" in error.message


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


def test_a_state_is_described_without_what_can_be_as_long_as_the_run() -> None:
    state = initial_state(plan_of(job("a")))
    assert repr(state) == f"MachineState(phase={state.phase!r}, step=None, outcome=None)"


def test_a_run_executes_as_many_steps_as_is_documented() -> None:
    assert initial_state(plan_of(job("a"))).activations_left == 250_000
