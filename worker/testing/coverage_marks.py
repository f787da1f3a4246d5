"""The coverage of the rules, drawn on the graph."""

from __future__ import annotations

from worker.testing.coverage import RAN, Coverage
from worker.view.graph.drawing import Annotation, Annotations
from worker.workflow.model import Workflow

_WORDS = {"success": "succeeded", "failed": "failed", "taken": "taken", "refused": "refused"}
_BADGES = {"success": "✓", "failed": "✗", "taken": "✓", "refused": "✗"}


def marks_of(workflow: Workflow, coverage: Coverage) -> Annotations:
    """A badge shows what was seen: ✓ succeeded or taken, ✗ failed or refused, · not seen."""
    steps = {step.id: _mark(coverage, f"step {step.id}", RAN) for step in workflow.steps}
    edges = {
        edge.id: _mark(coverage, f"edge {edge.id}", ("taken", "refused"))
        for step in workflow.steps
        for edge in step.edges
    }
    return Annotations(
        steps={id: mark for id, mark in steps.items() if mark is not None},
        edges={id: mark for id, mark in edges.items() if mark is not None},
    )


def _mark(coverage: Coverage, subject: str, ways: tuple[str, ...]) -> Annotation | None:
    """The mark of a step or an edge; none where it has no rules."""
    wanted = [way for way in ways if f"{subject} {way}" in coverage.rules]
    if not wanted:
        return None
    seen = [way for way in wanted if f"{subject} {way}" in coverage.hits]
    tone = "covered" if seen == wanted else "partly" if seen else "missed"
    notes = (f"{_WORDS[way]} {coverage.hits.get(f'{subject} {way}', 0)} times" for way in wanted)
    badge = "".join(_BADGES[way] if way in seen else "·" for way in wanted)
    return Annotation(style=tone, badge=badge, note=", ".join(notes))
