"""From a workflow to a plan: what can run at all."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import worker
from worker.core.compile_plan import build_graph, compile_plan
from worker.core.plan import Plan
from worker.errors import PlanError


def plan(*steps: dict[str, Any], **options: str) -> Plan:
    listed = [{"expression": "fn(s => s)", **step} for step in steps]
    return compile_plan(worker.load({"steps": listed}), **options)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "no steps"),
        ([{"id": "a"}, {"id": "a"}], "2 steps have the id 'a'"),
        ([{"id": "a", "next": "z"}], "leads to 'z', which is not a step"),
        ([{"id": "a", "next": {"z": False}}], "leads to 'z', which is not a step"),
        ([{"id": "a", "next": "a"}], "a -> a"),
        ([{"id": "a", "next": "b"}, {"id": "b", "next": {"a": {"disabled": True}}}], "a -> b -> a"),
    ],
)
def test_what_cannot_run_is_refused(steps: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        plan(*steps)
    assert caught.value.type == "ValidationError"


def test_an_unknown_start_is_refused_and_names_the_steps() -> None:
    with pytest.raises(PlanError, match=r"cannot start at 'z'.*'a'"):
        plan({"id": "a"}, start="z")
    with pytest.raises(PlanError, match=r"there are: '0', '1', .*'8', '9'\)"):
        plan(*({"id": str(number)} for number in range(12)), start="z")


def test_an_unknown_end_is_never_reached() -> None:
    assert plan({"id": "a"}, end="z").end == "z"


def test_steps_can_be_named_by_their_names() -> None:
    compiled = plan({"id": "a", "name": "Fetch"}, {"id": "b", "name": "Send"}, only="Send")
    assert (compiled.start, compiled.end) == ("b", "b")


def test_an_option_comes_before_what_the_workflow_states() -> None:
    steps = [{"id": id, "expression": "fn(s => s)"} for id in "abcd"]
    loaded = replace(worker.load({"steps": steps}), start="b", end="c")
    assert _ends(compile_plan(loaded)) == ("b", "c")
    assert _ends(compile_plan(loaded, start="a")) == ("a", "c")
    assert _ends(compile_plan(loaded, end="d")) == ("b", "d")
    assert _ends(compile_plan(loaded, only="d", start="a", end="b")) == ("d", "d")


def _ends(compiled: Plan) -> tuple[str, str]:
    return compiled.start, compiled.end


def test_a_step_without_a_name_is_never_the_end() -> None:
    # The only step without a name would be named by the empty text.
    found = plan({"id": "a", "name": "Fetch"}, {"id": "b"})
    assert (found.start, found.end) == ("a", "")


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12))
def test_a_graph_with_a_cycle_is_refused_and_no_other(edges: set[tuple[int, int]]) -> None:
    steps = [
        {"id": str(i), "next": {str(b): True for a, b in sorted(edges) if a == i}} for i in range(8)
    ]
    expected = nx.is_directed_acyclic_graph(nx.DiGraph(list(edges)))
    try:
        plan(*steps)
    except PlanError as error:
        assert not expected and "cycle" in str(error)
    else:
        assert expected


def test_the_graph_carries_steps_and_edges() -> None:
    graph = build_graph(worker.load({"steps": [{"id": "a", "next": "b"}, {"id": "b"}]}))
    assert graph.nodes["a"]["step"].id == "a"
    assert graph.edges["a", "b"]["edge"].target == "b"


@pytest.mark.parametrize(
    ("count", "cycle"),
    [
        (12, "0 -> 1 -> 2 -> 3 -> 4 -> 5 -> 6 -> 7 -> 8 -> 9 -> 10 -> 11 -> 0"),
        (13, "0 -> 1 -> 2 -> 3 -> 4 -> 5 -> ... -> 8 -> 9 -> 10 -> 11 -> 12 -> 0"),
    ],
)
def test_of_a_long_cycle_the_ends_are_named(count: int, cycle: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan(*({"id": str(i), "next": str((i + 1) % count)} for i in range(count)))
    assert str(caught.value).endswith(f"cycle: {cycle}")


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["chain", "star", "back to the start"])
def test_five_thousand_steps_need_no_recursion(shape: str) -> None:
    steps: list[dict[str, Any]] = [{"id": str(i)} for i in range(5000)]
    if shape == "star":
        steps[0]["next"] = {str(i): True for i in range(1, 5000)}
    else:
        for i in range(4999):
            steps[i]["next"] = str(i + 1)
    if shape != "back to the start":
        assert len(plan(*steps).steps) == 5000
        return
    steps[4999]["next"] = "0"
    with pytest.raises(PlanError, match=r"0 -> 1 .* \.\.\. .* -> 0"):
        plan(*steps)


def test_a_name_that_several_steps_have_does_not_say_where_to_start() -> None:
    twins = {"id": "a", "name": "Same"}, {"id": "b", "name": "Same"}
    with pytest.raises(PlanError, match="2 steps are called: use an id"):
        plan(*twins, start="Same")
    assert plan(*twins, end="Same").end == "Same"


def test_an_unknown_target_suggests_the_one_that_was_meant() -> None:
    with pytest.raises(PlanError, match="did you mean 'notify'"):
        plan({"id": "a", "next": "notfy"}, {"id": "notify"})


def test_steps_before_and_after_a_cycle_are_not_named_as_its_part() -> None:
    leads = {"a": ["b"], "b": ["c"], "c": ["b", "d"], "d": []}
    with pytest.raises(PlanError, match=r": (b -> c -> b|c -> b -> c)$"):
        plan(*({"id": id, "next": to} for id, to in leads.items()))


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=20))
def test_a_cycle_that_is_named_is_one(edges: set[tuple[int, int]]) -> None:
    steps = [
        {"id": str(i), "next": {str(b): True for a, b in sorted(edges) if a == i}} for i in range(8)
    ]
    try:
        plan(*steps)
    except PlanError as error:
        named = str(error).partition(": ")[2].split(" -> ")
        assert named[0] == named[-1] and len(set(named)) == len(named) - 1
        assert {(int(a), int(b)) for a, b in pairwise(named)} <= edges


def test_what_is_computed_of_a_workflow_is_computed_once_and_kept_with_it() -> None:
    """Three caches by identity each weighed the whole workflow: a third of a long graph's run."""
    steps = [{"id": id, "adaptor": "http", "expression": "fn(s => s)"} for id in "ab"]
    workflow = worker.load({"steps": steps})
    assert workflow.adaptor_lists == {("http",)}
    assert workflow.adaptor_lists is workflow.adaptor_lists
    compiled = compile_plan(workflow)
    assert compiled.name_characters == len(workflow.name) + len("ab")


@given(
    st.permutations("abcd"), st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")))
)
def test_a_plan_has_no_cycle_in_whatever_order_its_steps_are(
    ids: list[str], edges: set[tuple[str, str]]
) -> None:
    steps = [{"id": id, "next": {to: True for at, to in sorted(edges) if at == id}} for id in ids]
    acyclic = nx.is_directed_acyclic_graph(nx.DiGraph(sorted(edges)))
    if acyclic:
        plan(*steps)
    else:
        with pytest.raises(PlanError, match="form a cycle"):
            plan(*steps)
