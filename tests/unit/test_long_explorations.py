"""Explorations of long workflows: runs share their histories, conditions that repeat their states.

The numbers of evaluations and of objects are compared, not times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from worker.comparison.lockstep import compare
from worker.core.compile_plan import compile_plan
from worker.core.machine import EdgesEvaluated
from worker.explore.explorer import Explorer, Search
from worker.workflow.model import Edge, EdgeKind, Step, Workflow


class Conditions:
    """Evaluator by a function of the state's text, which counts the states."""

    def __init__(self, *, by_name: bool = False) -> None:
        self.by_name = by_name
        self.states: list[str] = []

    def __call__(self, step: str, states: Sequence[str]) -> list[EdgesEvaluated]:
        self.states += states
        value = f'"{step}":{{' if self.by_name else '"x":1'
        return [EdgesEvaluated(taken=(value in state,), state=None) for state in states]


def chain(length: int, *conditions: str) -> Workflow:
    """Return steps in a row, each with the next of these conditions on its way to the next step."""

    def steps() -> Iterator[Step]:
        for n in range(length):
            edge = Edge(
                source=f"s{n}",
                target=f"s{n + 1}",
                kind=EdgeKind.EXPRESSION,
                expression=conditions[n % len(conditions)],
            )
            yield Step(id=f"s{n}", source="fn(s => s)", edges=(edge,) if n < length - 1 else ())

    return Workflow(name="chain", steps=tuple(steps()))


def explorer(workflow: Workflow, conditions: Conditions) -> Explorer:
    return Explorer(plan=compile_plan(workflow), evaluate=conditions)


def test_a_run_shares_the_history_of_the_run_that_it_continues() -> None:
    table = explorer(chain(50, "state.data.x === 1"), Conditions())
    run = table.start()
    while not run.ended:
        after = table.follow(run, table.choices(run)[0])
        assert after.chosen is not None and after.chosen[1] is run.chosen
        if after.completed is not run.completed:
            assert after.completed is not None and after.completed[1] is run.completed
        run = after
    assert len(run.path) == 1


def searched(search: Search, conditions: Conditions, condition: str) -> set[tuple[bool, ...]]:
    table = explorer(chain(40, condition), conditions)
    table.search(("s0", False))
    conditions.states.clear()
    return {witness.taken for witness in table.search(search)}


def test_a_condition_that_repeats_is_evaluated_over_the_states_that_decided_it() -> None:
    conditions = Conditions()
    for search in (("s0", True), ("s7", False), ("s7", True)):
        assert searched(search, conditions, "state.data.x === 1") == {(True,), (False,)}
        assert len(conditions.states) == 2
        assert all(('"errors"' in state) is search[1] for state in conditions.states)


def test_a_condition_over_errors_is_searched_for_each_step() -> None:
    conditions = Conditions(by_name=True)
    table = explorer(chain(40, "state.errors.s7"), conditions)
    assert [witness.taken for witness in table.search(("s0", True))] == [(True,)]
    conditions.by_name = False
    assert [witness.taken for witness in table.search(("s7", True))] == [(False,)]
    assert not table._states


def test_states_that_decide_a_condition_no_more_are_searched_anew() -> None:
    # As a condition that goes through the keys of the state does.
    conditions = Conditions(by_name=True)
    table = explorer(chain(40, "check(state)"), conditions)
    table._states[("check(state)",)] = ['{"data":{}}', '{"data":{"x":1}}']
    assert {witness.taken for witness in table.search(("s7", True))} == {(True,)}
    assert len(conditions.states) > 2


def test_long_versions_are_compared_with_as_many_evaluations_as_conditions() -> None:
    conditions = Conditions()
    texts = [f"state.data.x === {n}" for n in range(5)]
    old, new = chain(400, *texts), chain(400, *texts)
    comparison = compare(explorer(old, conditions), explorer(new, conditions))
    assert comparison.complete and not comparison.scenarios
    assert comparison.pairs > 399
    # Two states for a step that succeeds or fails, and the searches of five conditions.
    assert len(conditions.states) < 2 * 2 * 400 + 5 * 300
