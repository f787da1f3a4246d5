"""The coverage of the rules, drawn on the graph."""

from __future__ import annotations

from worker.pictures.drawing import Mark, Marks, Tone
from worker.plan.workflow import Edge, Workflow
from worker.testing.coverage import RAN, Coverage

_WORDS = {"success": "succeed", "failed": "fail", "taken": "taken", "refused": "refused"}
_BADGES = {"success": "✓", "failed": "✗", "taken": "✓", "refused": "✗"}


def marks_of(workflow: Workflow, coverage: Coverage) -> Marks:
    """A badge shows what was seen: ✓ succeeded or taken, ✗ failed or refused, · not seen."""
    edges = [edge for step in workflow.steps for edge in step.edges]
    return Marks(
        steps={step.id: _mark(coverage, f"step {step.id}", RAN) for step in workflow.steps},
        edges={edge.id: _edge(coverage, edge) for edge in edges},
    )


def _edge(coverage: Coverage, edge: Edge) -> Mark:
    return _mark(coverage, f"edge {edge.id}", ("taken", "refused"))


def _mark(coverage: Coverage, subject: str, ways: tuple[str, ...]) -> Mark:
    wanted = [way for way in ways if f"{subject} {way}" in coverage.rules]
    if not wanted:
        return Mark()
    seen = [way for way in wanted if f"{subject} {way}" in coverage.hits]
    tone = Tone.COVERED if seen == wanted else Tone.PARTLY if seen else Tone.MISSED
    notes = (f"{_WORDS[way]}: {coverage.hits.get(f'{subject} {way}', 0)} times" for way in wanted)
    badge = "".join(_BADGES[way] if way in seen else "·" for way in wanted)
    return Mark(tone=tone, badge=badge, note=", ".join(notes))
