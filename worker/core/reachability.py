"""Reachability of steps."""

from __future__ import annotations

from collections.abc import Iterator

from worker.workflow.model import EdgeKind, StepKind, Workflow


def reachable_steps(workflow: Workflow, *, start: str = "", disabled: bool = False) -> set[str]:
    """Find the ids of the steps that some run can reach.

    Runs start at ``start``, or else at a trigger or the workflow's own start. With ``disabled``,
    disabled edges count as if they were enabled.
    """
    steps = {step.id: step for step in workflow.steps}
    waiting = [start] if start else [*_starts(workflow)]
    reached: set[str] = set()
    while waiting:
        id = waiting.pop()
        if id in steps and id not in reached:
            reached.add(id)
            edges = (edge for edge in steps[id].edges if edge.kind is not EdgeKind.NEVER)
            waiting += (edge.target for edge in edges if disabled or not edge.disabled)
    return reached


def _starts(workflow: Workflow) -> Iterator[str]:
    # A run can start at any trigger, also one that is disabled: by hand.
    yield from (step.id for step in workflow.steps if step.kind is StepKind.TRIGGER)
    yield from [workflow.start] if workflow.start else [step.id for step in workflow.steps[:1]]
