"""A test of the tests: break each edge of a sample in turn, and its cases must notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace as replace_case
from pathlib import Path

import pytest
from msgspec.structs import replace

from worker.testing.case import Case
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case
from worker.testing.coverage import rules_of
from worker.workflow.model import Edge, EdgeKind, Workflow

GRAPHS = Path(__file__).parents[2] / "graphs"
SUITES = sorted(GRAPHS.glob("*.cases.yaml"))

FLIPPED = {
    EdgeKind.SUCCESS: EdgeKind.FAILURE,
    EdgeKind.FAILURE: EdgeKind.SUCCESS,
    EdgeKind.ALWAYS: EdgeKind.NEVER,
    EdgeKind.NEVER: EdgeKind.ALWAYS,
}


def flip(edge: Edge) -> Edge:
    """The edge, followed exactly when it was not."""
    if edge.kind is EdgeKind.EXPRESSION:
        return replace(edge, expression=f"!({edge.expression})")
    return replace(edge, kind=FLIPPED[edge.kind])


def mutants(workflow: Workflow) -> Iterator[tuple[str, Workflow]]:
    """The workflow with one edge flipped, dropped or disabled, for each edge in turn."""
    for step in workflow.steps:
        for edge in (one for one in step.edges if one.can_be_taken):
            changes = {
                "flipped": (flip(edge),),
                "dropped": (),
                "disabled": (replace(edge, disabled=True),),
            }
            for name, put in changes.items():
                edges = [new for old in step.edges for new in (put if old is edge else (old,))]
                changed = replace(step, edges=tuple(edges))
                steps = tuple(changed if one is step else one for one in workflow.steps)
                yield f"{edge.id} {name}", replace(workflow, steps=steps)


def survives(cases: list[Case], mutant: Workflow) -> bool:
    """Return True if every case is as expected although the workflow is broken."""
    return not any(run_case(replace_case(case, workflow=mutant)).mismatches for case in cases)


@pytest.mark.parametrize("suite", SUITES, ids=[suite.name for suite in SUITES])
def test_every_broken_edge_is_noticed(suite: Path) -> None:
    by_workflow: dict[str, list[Case]] = {}
    for case in load_cases(suite):
        by_workflow.setdefault(case.workflow.name, []).append(case)
    noticed, survivors = 0, []
    for name, cases in by_workflow.items():
        # One that is refused before any step goes the same way whatever its edges are.
        runs = any(rules_of(cases[0].workflow))
        for change, mutant in mutants(cases[0].workflow) if runs else ():
            survivors += [f"{name}: {change}"] if survives(cases, mutant) else []
            noticed += 1
    print(f"{suite.name}: {noticed - len(survivors)} of {noticed} mutants noticed")
    assert noticed >= 3 and survivors == []


def test_every_sample_has_cases() -> None:
    samples = {file.name.partition(".")[0] for file in GRAPHS.glob("*.input.json")}
    assert {suite.name.partition(".")[0] for suite in SUITES} == samples
