"""The state diagrams in the documents are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from tools import diagrams
from worker.fleet.control.lifecycle import TABLE

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


def test_the_diagram_of_the_lifecycle_has_each_row_of_the_table() -> None:
    lines = diagrams.lifecycle().splitlines()
    arrows = [re.fullmatch(r" {4}(\w+) --> (\w+): (\w+)(?: \(.*\))?", line) for line in lines[2:-1]]
    assert [arrow and arrow.groups() for arrow in arrows] == [
        (row.source, row.target, row.event.__name__) for row in TABLE
    ]
    assert lines[0] == "stateDiagram-v2"
    assert lines[1] == "    [*] --> available" and lines[-1] == "    final --> [*]"


def test_a_diagram_is_updated_between_its_markers_alone() -> None:
    document = "before\n<!-- machine diagram -->\nold\n<!-- end of machine diagram -->\nafter\n"
    updated = diagrams.update(document)
    assert updated.startswith("before\n<!-- machine diagram -->\n```mermaid\nstateDiagram-v2\n")
    assert updated.endswith("\n```\n<!-- end of machine diagram -->\nafter\n")
    assert diagrams.update(updated) == updated


def test_the_architecture_shows_the_diagrams_of_the_code() -> None:
    text = ARCHITECTURE.read_text()
    for name in diagrams.DIAGRAMS:
        assert f"<!-- {name} diagram -->" in text
    assert diagrams.update(text) == text, (
        "run: python -m tools.diagrams docs/explanation/architecture.md"
    )
