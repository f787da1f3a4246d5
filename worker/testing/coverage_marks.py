"""Annotations that draw the coverage of the rules on the graph of a workflow."""

from __future__ import annotations

from worker.testing.coverage import NOT_TAKEN, OUTCOMES, TAKEN, Coverage
from worker.util.plural import count_of
from worker.view.graph.drawing import Annotation, Annotations
from worker.workflow.model import Workflow

_WORDS = {"success": "succeeded", "failed": "failed", TAKEN: "taken", NOT_TAKEN: "not taken"}
_BADGES = {"success": "✓", "failed": "✗", TAKEN: "✓", NOT_TAKEN: "✗"}


def marks_of(workflow: Workflow, coverage: Coverage) -> Annotations:
    """Make a badge for each step and edge that has rules.

    ✓ stands for succeeded or taken, ✗ for failed or not taken, · for one of them never exercised.
    """
    steps = {step.id: _mark(coverage, f"step {step.id}", OUTCOMES) for step in workflow.steps}
    edges = {
        edge.id: _mark(coverage, f"edge {edge.id}", (TAKEN, NOT_TAKEN))
        for step in workflow.steps
        for edge in step.edges
    }
    return Annotations(
        steps={id: mark for id, mark in steps.items() if mark is not None},
        edges={id: mark for id, mark in edges.items() if mark is not None},
    )


def _mark(coverage: Coverage, subject: str, outcomes: tuple[str, ...]) -> Annotation | None:
    expected = [outcome for outcome in outcomes if f"{subject} {outcome}" in coverage.rules]
    # Triggers, and edges that can never be followed, have no rules: a badge would count them
    # as missed.
    if not expected:
        return None
    hit = [outcome for outcome in expected if f"{subject} {outcome}" in coverage.hits]
    style = "covered" if hit == expected else "partly" if hit else "missed"
    counts = (coverage.hits.get(f"{subject} {outcome}", 0) for outcome in expected)
    notes = (
        f"{_WORDS[name]} {count_of(count, 'time')}"
        for name, count in zip(expected, counts, strict=True)
    )
    badge = "".join(_BADGES[outcome] if outcome in hit else "·" for outcome in expected)
    return Annotation(style=style, badge=badge, note=", ".join(notes))
