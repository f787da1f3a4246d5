"""Comparison of two versions: every difference is found, and none where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.comparison.definitions import definition_changes
from worker.comparison.lockstep import Comparison, compare
from worker.comparison.match_steps import match_renamed_steps, rename_steps
from worker.comparison.tokens import tokens
from worker.comparison.versions import diff_versions
from worker.core.compile_plan import compile_plan
from worker.core.machine import EdgesEvaluated
from worker.core.outcome import StepError
from worker.explore.explorer import ExploredState, Explorer
from worker.explore.state_search import candidate_states
from worker.workflow.model import Edge, EdgeKind, Language, Step, Workflow

Evaluator = Callable[[str, Sequence[str]], list[EdgesEvaluated]]
KINDS = (EdgeKind.ALWAYS, EdgeKind.SUCCESS, EdgeKind.FAILURE, EdgeKind.NEVER)


def job(id: str, source: str = "fn(s => s)", **edges: EdgeKind) -> Step:
    return Step(
        id=id,
        source=source,
        edges=tuple(Edge(source=id, target=target, kind=kind) for target, kind in edges.items()),
    )


def flow(*steps: Step, end: str = "") -> Workflow:
    return Workflow(name="w", steps=steps, end=end)


def no_conditions(step: str, states: Sequence[str]) -> list[EdgesEvaluated]:
    raise AssertionError("no edge here has an expression")


def explorer(workflow: Workflow) -> Explorer:
    return Explorer(plan=compile_plan(workflow), evaluate=no_conditions)


def compared(old: Workflow, new: Workflow) -> Comparison:
    return compare(explorer(old), explorer(new))


def test_the_shortest_scenario_comes_first_with_both_ends() -> None:
    old = flow(job("a", b=EdgeKind.SUCCESS, c=EdgeKind.FAILURE), job("b"), job("c"))
    new = flow(job("a", b=EdgeKind.SUCCESS), job("b"), job("c"))
    (scenario,) = compared(old, new).scenarios
    assert [(choice.step, choice.ending) for choice in scenario.choices[:1]] == [("a", "fails")]
    assert (scenario.old.status, scenario.old.path) == ("success", ("a", "c"))
    assert (scenario.new.status, scenario.new.path) == ("failed", ("a",))
    assert (scenario.old.handled, scenario.new.handled) == (("a",), ())


def test_another_end_is_a_difference_although_path_and_status_are_the_same() -> None:
    steps = (job("a", b=EdgeKind.ALWAYS), job("b"))
    assert not compared(flow(*steps), flow(*steps, end="b")).scenarios
    (first, *_) = compared(flow(*steps), flow(*steps, end="a")).scenarios
    assert first.new.leaves == ("a",)


def test_a_version_whose_condition_is_over_a_limit_is_killed_there() -> None:
    def evaluator(error: StepError | None) -> Evaluator:
        return lambda step, states: [
            EdgesEvaluated(taken=() if error else (True,), state=None, error=error) for _ in states
        ]

    def version(condition: str) -> Workflow:
        edge = Edge(source="a", target="b", kind=EdgeKind.EXPRESSION, expression=condition)
        return flow(Step(id="a", source="fn(s => s)", edges=(edge,)), job("b"))

    over = StepError(type="TimeoutError", message="too long", name="TimeoutError")
    old, new = (
        Explorer(plan=compile_plan(version(condition)), evaluate=evaluator(error))
        for condition, error in (("true", None), ("endless()", over))
    )
    for first, second, path in ((old, new, ("a", "b")), (new, old, ("a",))):
        (scenario, *_) = compare(first, second).scenarios
        assert scenario.old.path == path
        assert {scenario.old.status, scenario.new.status} == {"success", "killed"}
        assert {scenario.old.error_type, scenario.new.error_type} == {None, "TimeoutError"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "condition",
    ["!" * 5000 + "state.x", "state" + ".x" * 9000, "1 + " * 5000 + "state.x"],
    ids=["negations", "properties", "sums"],
)
def test_states_are_searched_for_conditions_of_any_length(condition: str) -> None:
    edge = Edge(source="a", target="b", kind=EdgeKind.EXPRESSION, expression=condition)
    assert json.loads(next(candidate_states([edge], "a", None))) == {"data": {}}


@st.composite
def versions(draw: st.DrawFn) -> tuple[Workflow, Workflow]:
    """Draw a small workflow, and the same one with some of its edges drawn anew."""
    names = ["a", "b", "c", "d"][: draw(st.integers(2, 4))]

    def edges(at: int) -> dict[str, EdgeKind]:
        later = st.sampled_from(names[at + 1 :])
        return draw(st.dictionaries(later, st.sampled_from(KINDS), max_size=2))

    def steps() -> list[Step]:
        return [job(id, **(edges(at) if names[at + 1 :] else {})) for at, id in enumerate(names)]

    old, other = steps(), steps()
    changed = draw(st.sets(st.sampled_from(names)))
    new = [
        second if first.id in changed else first for first, second in zip(old, other, strict=True)
    ]
    ends = st.sampled_from(["", *names])
    return flow(*old, end=draw(ends)), flow(*new, end=draw(ends))


def every_end(
    first: ExploredState, second: ExploredState, pair: tuple[Explorer, Explorer]
) -> Iterator[bool]:
    """Yield for every way that both can go whether they end alike, without any pruning."""
    effects = first.effect, second.effect
    if first.ended or second.ended or effects[0].step.id != effects[1].step.id:  # type: ignore[union-attr]
        yield first.ended and second.ended and signature(first) == signature(second)
        return
    for choice in pair[0].choices(first):
        yield from every_end(pair[0].follow(first, choice), pair[1].follow(second, choice), pair)


def signature(run: ExploredState) -> object:
    effect = run.effect
    handled = [done.step.id for done in run.path if done.outcome.errored and done.next]
    leaves = [leaf.key for leaf in effect.leaves]  # type: ignore[union-attr]
    return run.run().status, run.run().error_type, run.run().steps, leaves, handled


@given(versions())
def test_versions_differ_exactly_where_trying_every_way_shows_it(
    pair: tuple[Workflow, Workflow],
) -> None:
    explorers = explorer(pair[0]), explorer(pair[1])
    same = all(every_end(explorers[0].start(), explorers[1].start(), explorers))
    comparison = compared(*pair)
    assert comparison.complete
    assert bool(comparison.scenarios) is not same
    assert not compared(pair[0], pair[0]).scenarios


def test_a_comparison_stops_at_its_limit_and_reports_it() -> None:
    old = flow(job("a", b=EdgeKind.ALWAYS), job("b", c=EdgeKind.ALWAYS), job("c"))
    assert not compare(explorer(old), explorer(old), limit=2).complete


def test_renamed_steps_are_matched_by_their_content() -> None:
    old = flow(job("a", b=EdgeKind.FAILURE), job("b", "post('/x')"))
    new = flow(job("a", alert=EdgeKind.FAILURE), job("alert", "post( '/x' );"))
    assert match_renamed_steps(old, new) == {"b": "alert"}
    result = diff_versions(old, new)
    assert not result.differs and result.renamed == {"b": "alert"}


def test_steps_of_the_same_content_are_not_matched() -> None:
    old, new = flow(job("a"), job("b")), flow(job("c"), job("d"))
    assert match_renamed_steps(old, new) == {}
    assert rename_steps(old, {}) == old


def test_changes_of_definitions_are_listed_without_secrets() -> None:
    old = flow(replace(job("a"), adaptors=("http@7",), configuration={"password": "hunter22"}))
    new = flow(replace(job("a", "fn(x => x)"), adaptors=("http@8",), configuration="prod"))
    new = replace(new, options={"run_timeout_ms": 500})
    changes = definition_changes(old, new)
    assert [(change.subject, change.old, change.new) for change in changes] == [
        ("code", "", ""),
        ("adaptor", "http@7", "http@8"),
        ("credential", "inline (password)", "prod"),
        ("option", "", "500"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("fn(s => s)", "fn( s =>\n  s ); // same", True),
        ("a()\nb()", "a(); b();", True),
        ("() => { return\n1 }", "() => { return 1 }", False),
        ("'a b'", "'a  b'", False),
        ("`a ${ b }`", "`a  ${b}`", False),
        ("for (;;) a()", "for (;a;) a()", False),
        ("(((", "((( ", False),
        ("(((", "(((", True),
    ],
)
def test_formatting_does_not_change_the_tokens(first: str, second: str, same: bool) -> None:
    assert (tokens(first) == tokens(second)) is same


def test_indentation_is_part_of_python() -> None:
    python = Language.PYTHON
    assert tokens("if a:\n    b", python) == tokens("if a:  # why\n    b", python)
    assert tokens("if a:\n    b\nc", python) != tokens("if a:\n    b\n    c", python)
