"""A workflow as an execution plan, whatever it was read from: what :func:`load` reads again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from worker.workflow.model import Edge, EdgeKind, Language, Step, StepKind, Workflow


def to_execution_plan(
    workflow: Workflow, configurations: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The plan. ``configurations`` stand in for those of steps, by id, where they hold secrets."""
    options = {"start": workflow.start, "end": workflow.end, **workflow.options}
    given = configurations or {}
    return {
        "options": {key: value for key, value in options.items() if value},
        "workflow": {
            "name": workflow.name,
            **({"id": workflow.id} if workflow.id else {}),
            "steps": [
                _step(step, given.get(step.id, step.configuration)) for step in workflow.steps
            ],
        },
    }


def fingerprint(workflow: Workflow) -> str:
    """The same for workflows that run in the same way; credentials are no part of it."""
    plan = to_execution_plan(workflow, {step.id: None for step in workflow.steps})
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def _step(step: Step, configuration: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": step.id, "name": step.name}
    if step.kind is StepKind.TRIGGER:
        fields |= {"type": step.trigger_type, "cron_expression": step.cron}
    else:
        fields |= {"adaptors": _adaptors(step), "expression": step.source}
    fields |= {"state": dict(step.state), "configuration": configuration}
    kept = {key: value for key, value in fields.items() if value or key == "expression"}
    if step.edges:
        kept["next"] = {edge.target: _edge(edge) for edge in step.edges}
    return kept


def _adaptors(step: Step) -> list[str]:
    """A step in a .py file says by its adaptor that it is Python: here there is no file."""
    named = any(one.partition("@")[0] == "python" for one in step.adaptors)
    extra = ["python"] if step.language is Language.PYTHON and not named else []
    return [*step.adaptors, *extra]


def _edge(edge: Edge) -> dict[str, Any]:
    match edge.kind:
        case EdgeKind.ALWAYS:
            condition: Any = True
        case EdgeKind.NEVER:
            condition = False
        case EdgeKind.EXPRESSION:
            condition = edge.expression
        case kind:
            condition = kind.value
    label = {"label": edge.label} if edge.label else {}
    disabled = {"disabled": True} if edge.disabled else {}
    return {"condition": condition, **label, **disabled}
