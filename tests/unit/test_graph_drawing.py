"""Content of drawings, annotation styles, themes, and invalid workflows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.graph_checks import (
    CHECKS,
    check_layout,
    check_svg,
)
from tests.support.graphs import annotated, hundred_steps
from worker.core.status import STATUSES
from worker.view.graph.annotation_styles import ANNOTATION_STYLES
from worker.view.graph.drawing import Annotation, Annotations, EdgeStyle, NodeKind, draw
from worker.view.graph.formats import FORMATS, render
from worker.view.graph.svg import NAMESPACE, render_svg
from worker.view.graph.text_blocks import measure_label
from worker.view.graph.themes import style_sheet
from worker.workflow.load import load
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

ROOT = Path(__file__).parents[2]


# --- what is drawn --------------------------------------------------------------------------------


def test_a_drawing_says_what_a_workflow_is() -> None:
    long = "state.data.patients.filter(p => p.ok).length > 10"
    workflow = Workflow(name="w", steps=(
        Step(id="t", kind=StepKind.TRIGGER, trigger_type="cron", edges=(Edge(source="t", target="a"),)),
        Step(id="a", name="First", source="x", adaptors=("@openfn/language-http@7.0.0",), edges=(
            Edge(source="a", target="b", kind=EdgeKind.EXPRESSION, expression=long, label="enough"),
            Edge(source="a", target="c", kind=EdgeKind.FAILURE),
            Edge(source="a", target="b2", kind=EdgeKind.SUCCESS, disabled=True),
            Edge(source="a", target="a", kind=EdgeKind.NEVER),
        )),
        Step(id="b"), Step(id="b"), Step(id="c", source="y"),
    ))  # fmt: skip
    drawing = draw(
        workflow,
        Annotations(
            steps={"a": Annotation(style="failed", badge="2×", note="JobError")},
            edges={"a->c": Annotation(style="missed")},
        ),
    )
    assert [node.key for node in drawing.nodes] == ["n0", "n1", "n2", "n3", "n4", "n5"]
    assert [str(node.kind) for node in drawing.nodes] == [
        "trigger",
        "job",
        "code-less",
        "code-less",
        "job",
        "missing",
    ]
    first = drawing.nodes[1]
    assert (first.title, first.subtitle, first.annotation and first.annotation.badge) == (
        "First",
        "http@7.0.0",
        "2×",
    )
    assert first.tooltip.endswith("\nJobError")
    assert [(edge.source, edge.target, str(edge.style)) for edge in drawing.edges] == [
        ("n0", "n1", "always"), ("n1", "n2", "expression"), ("n1", "n4", "failure"), ("n1", "n5", "disabled"), ("n1", "n1", "never"),
    ]  # fmt: skip
    chosen = drawing.edges[1]
    assert (
        chosen.label == "enough" and chosen.condition.endswith("…") and len(chosen.condition) == 40
    )
    assert long in chosen.tooltip
    assert drawing.edges[2].condition == "✗ on failure"
    assert drawing.edges[2].annotation == Annotation(style="missed")
    assert "disabled" in drawing.edges[3].tooltip
    check_layout(drawing)


def test_a_mark_has_a_tone_that_there_is() -> None:
    others = {"covered", "partly", "missed", "followed", "not-taken", "not-reached"}
    assert set(map(str, STATUSES)) | others == set(ANNOTATION_STYLES)
    with pytest.raises(ValueError, match="unknown annotation style 'green'"):
        Annotation(style="green")


def test_no_two_statuses_look_the_same_without_colour() -> None:
    statuses = [ANNOTATION_STYLES[str(status)] for status in STATUSES]
    assert len({(style.shape, style.glyph) for style in statuses}) == len(statuses)
    assert all(
        style.symbol == STATUSES[status].mark
        for style, status in zip(statuses, STATUSES, strict=True)
    )
    assert len({style.symbol for style in statuses}) == len(statuses)


def test_kinds_of_edges_are_told_apart_without_colour() -> None:
    workflow = load(ROOT / "graphs/triage.yaml")
    text = render_svg(draw(workflow))
    assert "✗ on failure" in text and "✓ on success" in text
    assert ".workflow-graph .line.failure { stroke-dasharray: 7 4; }" in text
    assert 'class="tail expression"' in text
    disabled = draw(load(ROOT / "graphs/router.yaml"))
    lines = [
        line.text
        for edge in disabled.edges
        if edge.style is EdgeStyle.DISABLED
        for line in measure_label(edge).lines
    ]
    assert lines == ["⊘ disabled"]


@pytest.mark.slow
def test_a_dark_screen_has_colours_of_its_own() -> None:
    assert "@media screen and (prefers-color-scheme: dark)" in render_svg(draw(hundred_steps()))
    assert "@media" not in style_sheet(dark=False)


def test_rules_reach_nothing_outside_the_picture() -> None:
    rules = [line for line in style_sheet().splitlines() if not line.startswith(("@", "}"))]
    assert rules and all(
        selector.startswith(".workflow-graph ")
        for rule in rules
        for selector in rule.partition(" {")[0].split(", ")
    )


def test_a_picture_is_told_in_words_too() -> None:
    root = check_svg(render_svg(draw(load(ROOT / "graphs/triage.yaml"))))
    assert root.get("role") == "img" and "Triage: 7 steps, 6 edges" in (
        root.get("aria-label") or ""
    )
    assert "Score to Triage by hand: ✗ on failure." in (root.findtext(f"{{{NAMESPACE}}}desc") or "")


# --- workflows that could not run -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("steps", [
    [],
    [{"id": "a", "next": {"a": True}}],
    [{"id": "a", "next": {"b": "state.x"}}, {"id": "b", "next": {"a": "on_job_failure"}}],
    [{"id": "a", "next": {"nowhere": True, "b": True}}, {"id": "b", "next": {"nowhere": True}}],
    [{"id": "a"}, {"id": "a", "next": {"a": True}}],
])  # fmt: skip
def test_what_could_not_run_is_drawn_all_the_same(steps: list[dict[str, object]]) -> None:
    workflow = load({"workflow": {"name": "broken", "steps": steps}})
    drawing = draw(workflow, annotated(workflow))
    check_layout(drawing)
    for format in FORMATS:
        CHECKS[format](render(drawing, format))


def test_a_missing_target_stands_in_the_picture_once() -> None:
    steps = [{"id": "a", "next": {"x": True}}, {"id": "b", "next": {"x": True}}]
    drawing = draw(load({"workflow": {"name": "w", "steps": steps}}))
    assert [node.title for node in drawing.nodes if node.kind is NodeKind.MISSING] == ["x"]
