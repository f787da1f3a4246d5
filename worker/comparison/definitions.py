"""Changes between two definitions of a workflow that no scenario shows: code, adaptors, limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from worker.comparison.tokens import tokens
from worker.runner.prepare import configurations, secret_configurations
from worker.util.json import dumps
from worker.util.masking import Mask, collect_secrets
from worker.workflow.model import Edge, EdgeKind, Step, Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Change of one part: ``added``, ``removed`` or ``changed``.

    ``subject`` is step, edge, code, adaptor, credential, state, trigger or option. ``place`` is the
    id of the step or edge, or the name of the option. ``old`` and ``new`` are texts for people,
    empty for code and where there is none.
    """

    kind: str
    subject: str
    place: str
    old: str = ""
    new: str = ""


def definition_changes(old: Workflow, new: Workflow) -> tuple[Change, ...]:
    """List the changes, in the order of the new version; steps are matched by their ids."""
    changes = (*_step_changes(old, new), *_edge_changes(old, new), *_option_changes(old, new))
    # A comparison is read in pull requests, and a secret may stand in a state or a condition too.
    secrets = [
        configuration
        for workflow in (old, new)
        for configuration in secret_configurations(workflow, configurations(workflow, {})[0])
    ]
    mask = Mask(collect_secrets(secrets))
    return tuple(replace(c, old=mask.text(c.old), new=mask.text(c.new)) for c in changes)


def _step_changes(old: Workflow, new: Workflow) -> Iterator[Change]:
    before = {step.id: step for step in old.steps}
    for step in new.steps:
        if step.id in before:
            yield from _changes_of_step(before[step.id], step)
        else:
            yield Change(kind="added", subject="step", place=step.id)
    after = {step.id for step in new.steps}
    for id in before:
        if id not in after:
            yield Change(kind="removed", subject="step", place=id)


def _changes_of_step(old: Step, new: Step) -> Iterator[Change]:
    if tokens(old.source, old.language) != tokens(new.source, new.language):
        yield Change(kind="changed", subject="code", place=new.id)
    yield from _changed("adaptor", new.id, ", ".join(old.adaptors), ", ".join(new.adaptors))
    yield from _changed("credential", new.id, _credential(old), _credential(new))
    yield from _changed("state", new.id, dumps(old.state), dumps(new.state))
    triggers = (f"{step.trigger_type} {step.cron}".strip() for step in (old, new))
    yield from _changed("trigger", new.id, *triggers)


def _credential(step: Step) -> str:
    match step.configuration:
        case None:
            return ""
        case str(name):
            return name
        case inline:
            # The values are secrets: a comparison is read in pull requests.
            return f"inline ({', '.join(sorted(inline))})"


def _edge_changes(old: Workflow, new: Workflow) -> Iterator[Change]:
    before, after = _edges(old), _edges(new)
    for id, edge in after.items():
        if id not in before:
            yield Change(kind="added", subject="edge", place=id, new=_condition(edge))
        elif tokens(_condition(before[id])) != tokens(_condition(edge)):
            yield from _changed("edge", id, _condition(before[id]), _condition(edge))
    for id, edge in before.items():
        if id not in after:
            yield Change(kind="removed", subject="edge", place=id, old=_condition(edge))


def _edges(workflow: Workflow) -> dict[str, Edge]:
    return {edge.id: edge for step in workflow.steps for edge in step.edges if edge.can_be_taken}


def _condition(edge: Edge) -> str:
    return edge.expression if edge.kind is EdgeKind.EXPRESSION else edge.kind.value


def _option_changes(old: Workflow, new: Workflow) -> Iterator[Change]:
    before, after = _options(old), _options(new)
    for name in {**after, **before}:
        yield from _changed("option", name, before.get(name, ""), after.get(name, ""))


def _options(workflow: Workflow) -> dict[str, str]:
    ends: dict[str, Any] = {"start": workflow.start, "end": workflow.end}
    values = {**workflow.options, **{name: value for name, value in ends.items() if value}}
    return {
        name: value if isinstance(value, str) else dumps(value) for name, value in values.items()
    }


def _changed(subject: str, place: str, old: str, new: str) -> Iterator[Change]:
    if old != new:
        yield Change(kind="changed", subject=subject, place=place, old=old, new=new)
