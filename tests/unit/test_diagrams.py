"""The state diagrams in the documents are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import diagrams

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "explanation" / "architecture.md"


def test_the_diagram_of_the_machine_has_every_transition() -> None:
    assert diagrams.machine().splitlines() == [
        "stateDiagram-v2",
        "    [*] --> not_started",
        "    not_started --> executing_step: Started",
        "    not_started --> completed: StartFailed",
        "    executing_step --> evaluating_edges: StepFinished",
        "    executing_step --> completed: StepFinished",
        "    evaluating_edges --> executing_step: EdgesEvaluated",
        "    evaluating_edges --> completed: EdgesEvaluated",
        "    completed --> [*]",
    ]


def test_a_diagram_is_updated_between_its_markers_alone() -> None:
    document = "before\n<!-- machine diagram -->\nold\n<!-- end of machine diagram -->\nafter\n"
    updated = diagrams.update(document)
    assert updated.startswith("before\n<!-- machine diagram -->\n```mermaid\nstateDiagram-v2\n")
    assert updated.endswith("\n```\n<!-- end of machine diagram -->\nafter\n")
    assert diagrams.update(updated) == updated


@pytest.mark.skipif(not ARCHITECTURE.exists(), reason="the document is not written yet")
def test_the_architecture_shows_the_diagrams_of_the_code() -> None:
    text = ARCHITECTURE.read_text()
    assert "<!-- machine diagram -->" in text
    assert diagrams.update(text) == text, (
        "run: python -m tools.diagrams docs/explanation/architecture.md"
    )
