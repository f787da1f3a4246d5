"""Conversion of a workflow to an execution plan, the format that represents all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from worker.workflow.model import Edge, EdgeKind, Language, Step, StepKind, Workflow


def to_execution_plan(
    workflow: Workflow, configurations: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Convert a workflow to an execution plan, which :func:`worker.load` reads again.

    ``configurations``, by step id, replace those of the steps where they contain secrets.
    """
    options = {"start": workflow.start, "end": workflow.end, **workflow.options}
    replacements = configurations or {}
    return {
        "options": {key: value for key, value in options.items() if value},
        "workflow": {
            "name": workflow.name,
            **({"id": workflow.id} if workflow.id else {}),
            **({"credentials": dict(workflow.credentials)} if workflow.credentials else {}),
            **({"globals": workflow.globals} if workflow.globals else {}),
            "steps": [
                _step(step, replacements.get(step.id, step.configuration))
                for step in workflow.steps
            ],
        },
    }


def fingerprint(workflow: Workflow) -> str:
    """Compute a hash that is equal for workflows that run alike, whatever their credentials."""
    bare = replace(workflow, credentials={})
    plan = to_execution_plan(bare, {step.id: None for step in workflow.steps})
    return hashlib.sha256(json.dumps(plan).encode()).hexdigest()


def _step(step: Step, configuration: Any) -> dict[str, Any]:
    # A generated id is left out, so that the plan generates it again.
    fields: dict[str, Any] = {"id": "" if step.generated_id else step.id, "name": step.name}
    if step.kind is StepKind.TRIGGER:
        fields |= {"type": step.trigger_type, "cron_expression": step.cron}
    else:
        fields |= {"adaptors": _adaptors(step), "expression": step.source}
    fields |= {"state": dict(step.state), "configuration": configuration}
    # A step without an expression is a trigger: a job keeps an empty one.
    plan_step = {key: value for key, value in fields.items() if value or key == "expression"}
    if step.edges:
        plan_step["next"] = {edge.target: _edge(edge) for edge in step.edges}
    return plan_step


def _adaptors(step: Step) -> list[str]:
    # Without its .py file, only the adaptor marks a step as Python.
    has_python = any(adaptor.partition("@")[0] == "python" for adaptor in step.adaptors)
    extra = ["python"] if step.language is Language.PYTHON and not has_python else []
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
