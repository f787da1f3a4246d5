"""Renamed steps: those of two versions that differ by their id alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping

from msgspec.structs import replace

from worker.comparison.tokens import tokens
from worker.workflow.model import Edge, Step, Workflow


def match_renamed_steps(old: Workflow, new: Workflow) -> dict[str, str]:
    """Map the ids of renamed steps, from the old version's to the new one's.

    A step is renamed where exactly one step of each version is only in that version and has this
    code, adaptor, credential and default state.
    """
    ids_old, ids_new = ({step.id for step in workflow.steps} for workflow in (old, new))
    before = _by_content(step for step in old.steps if step.id not in ids_new)
    after = _by_content(step for step in new.steps if step.id not in ids_old)
    return {
        steps[0]: after[content][0]
        for content, steps in before.items()
        if len(steps) == 1 and len(after.get(content, ())) == 1
    }


def rename_steps(workflow: Workflow, names: Mapping[str, str]) -> Workflow:
    """Give steps other ids, wherever the workflow's graph names them."""

    def renamed(id: str) -> str:
        return names.get(id, id)

    def renamed_edge(edge: Edge) -> Edge:
        return replace(edge, source=renamed(edge.source), target=renamed(edge.target))

    steps = [
        replace(step, id=renamed(step.id), edges=tuple(map(renamed_edge, step.edges)))
        for step in workflow.steps
    ]
    return replace(
        workflow, steps=tuple(steps), start=renamed(workflow.start), end=renamed(workflow.end)
    )


def _by_content(steps: Iterable[Step]) -> Mapping[Hashable, list[str]]:
    ids: dict[Hashable, list[str]] = defaultdict(list)
    for step in steps:
        content = (
            step.kind,
            step.language,
            step.adaptors,
            tokens(step.source, step.language),
            repr(step.configuration),
            repr(step.state),
            (step.trigger_type, step.cron),
        )
        ids[content].append(step.id)
    return ids
