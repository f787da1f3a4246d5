"""A test of the tests: break each edge of a sample in turn, and its cases must notice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from worker.plan.workflow import Edge, EdgeKind, Workflow
from worker.testing.cases import load_cases
from worker.testing.scenario import Case
from worker.testing.session import run_case

GRAPHS = Path(__file__).parent.parent / "graphs"
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
        for edge in (one for one in step.edges if one.followable):
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
    """Whether every case is as expected although the workflow is broken."""
    return not any(run_case(replace(case, workflow=mutant)).mismatches for case in cases)


@pytest.mark.parametrize("suite", SUITES, ids=[suite.name for suite in SUITES])
def test_every_broken_edge_is_noticed(suite: Path) -> None:
    cases = load_cases(suite)
    broken = dict(mutants(cases[0].workflow))
    survivors = [name for name, mutant in broken.items() if survives(cases, mutant)]
    print(f"{suite.name}: {len(broken) - len(survivors)} of {len(broken)} mutants noticed")
    assert len(broken) >= 3 and survivors == []
