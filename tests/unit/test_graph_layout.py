"""Layout: nothing overlaps, whatever the workflow."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.examples import examples
from tests.support.graph_checks import (
    check_layout,
    check_svg,
)
from tests.support.graphs import annotated, hundred_steps, workflows
from worker.errors import UsageError
from worker.view.graph.drawing import draw
from worker.view.graph.formats import render
from worker.view.graph.layout_engine import compute_layout
from worker.view.graph.svg import render_svg
from worker.workflow.load import load
from worker.workflow.model import Edge, EdgeKind, Step, Workflow

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@settings(max_examples=examples(40), suppress_health_check=list(HealthCheck))
@given(workflows())
def test_nothing_lies_over_anything(workflow: Workflow) -> None:
    drawing = draw(workflow)
    layout = check_layout(drawing)
    for edge, route in zip(drawing.edges, layout.routes, strict=True):
        assert route[0][1] < route[-1][1], f"{edge} does not lead down"


@pytest.mark.slow
@settings(max_examples=examples(30), suppress_health_check=list(HealthCheck))
@given(workflows(most=20, cycles=True))
def test_nothing_lies_over_anything_with_cycles_and_marks(workflow: Workflow) -> None:
    drawing = draw(workflow, annotated(workflow))
    check_layout(drawing)
    check_svg(render_svg(drawing))


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.slow if seed else ()) for seed in range(4)]
)
def test_nothing_lies_over_anything_where_edges_are_many(seed: int) -> None:
    chosen = random.Random(seed)
    edges: dict[int, list[Edge]] = {number: [] for number in range(60)}
    for source, target in sorted({tuple(sorted(chosen.sample(range(60), 2))) for _ in range(140)}):
        kind = chosen.choice(list(EdgeKind))
        edges[source].append(
            Edge(source=str(source), target=str(target), kind=kind, expression="state.x")
        )
    steps = (
        Step(id=str(number), name="step " * (number % 9), edges=tuple(edges[number]))
        for number in edges
    )
    check_layout(draw(Workflow(name="dense", steps=tuple(steps))))


@pytest.mark.slow
def test_a_hundred_steps(capsys: pytest.CaptureFixture[str]) -> None:
    drawing = draw(hundred_steps())
    begun = time.perf_counter()
    text = render_svg(drawing)
    with capsys.disabled():
        print(
            f"\n{drawing.summary}: drawn in {time.perf_counter() - begun:.2f} s, {len(text):,} bytes"
        )
    check_svg(text)
    check_layout(drawing)


@pytest.mark.slow
def test_a_picture_is_the_same_every_time() -> None:
    assert render_svg(draw(hundred_steps())) == render_svg(draw(hundred_steps()))


def test_steps_stand_in_the_order_of_the_file() -> None:
    layout = compute_layout(draw(load(ROOT / "graphs/router.yaml")))
    xs = [box.x for box in layout.boxes[2:]]
    assert xs == sorted(xs)


@pytest.mark.parametrize("length", [500, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_long_chain_is_no_matter_of_the_stack(length: int) -> None:
    steps = [{"id": f"s{i}", "next": {f"s{i + 1}": True}} for i in range(length)]
    last = {"id": f"s{length}"}
    check_svg(render_svg(draw(load({"workflow": {"name": "long", "steps": [*steps, last]}}))))


def test_a_layout_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    compute_layout(draw(hundred_steps()))
    monkeypatch.setattr("worker.view.graph.dagre._TIME_LIMIT_S", 0.0)
    with pytest.raises(UsageError):
        compute_layout(draw(hundred_steps()))
    assert threading.active_count() == before


def test_too_large_a_graph_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.view.graph.dagre._TIME_LIMIT_S", 0.001)
    with pytest.raises(UsageError, match=r"100 steps are too many to lay out .*: write mmd or dot"):
        render(draw(hundred_steps()), "svg")
