"""Which steps a run can reach at all."""

from __future__ import annotations

from collections.abc import Iterator

from worker.workflow.model import EdgeKind, StepKind, Workflow


def reachable_steps(workflow: Workflow, *, start: str = "", disabled: bool = False) -> set[str]:
    """The steps that some run can reach, from ``start`` or wherever runs start; with ``disabled``,
    as if no edge were disabled."""
    steps = {step.id: step for step in workflow.steps}
    waiting = [start] if start else [*_starts(workflow)]
    reached: set[str] = set()
    while waiting:
        id = waiting.pop()
        if id in steps and id not in reached:
            reached.add(id)
            open_edges = (e for e in steps[id].edges if e.kind is not EdgeKind.NEVER)
            waiting += (edge.target for edge in open_edges if disabled or not edge.disabled)
    return reached


def _starts(workflow: Workflow) -> Iterator[str]:
    yield from (step.id for step in workflow.steps if step.kind is StepKind.TRIGGER)
    yield from [workflow.start] if workflow.start else [step.id for step in workflow.steps[:1]]
