"""Readers of formats with edges in the ``next`` of steps: execution plans, project.yaml 4.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe
from worker.workflow.formats.common import (
    TRIGGER_KEYS,
    deduplicate_edges,
    detect_language,
    read_body,
    read_condition,
    read_configuration,
    read_credentials,
    read_data_or_file,
    read_globals,
    read_options,
    read_trigger,
)
from worker.workflow.formats.fleet_options import FLEET_OPTIONS, read_fleet_options
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

# All keys that OpenFn's tools write, also those without a meaning here: others cause a warning.
_PLAN_KEYS = ("options", "workflow", "id", "sourcePath", "version", "schema_version")
_WORKFLOW_KEYS = (
    *("id", "name", "start", "end", "steps", "jobs", "globals", "options", "credentials"),
    *("schema_version", "version", "openfn", "history", "lock_version", "uuid", "cli"),
    *("concurrency", "description"),
    *FLEET_OPTIONS,
)
_STEP_KEYS = (
    *("id", "name", "adaptor", "adaptors", "expression", "state", "configuration", "next"),
    *("type", "enabled", "project_credential_id", "openfn", "cron_expression", "previous"),
    *("keychain_credential_id", "linker", "webhook_reply", "custom_path", "cron_cursor"),
    *("webhook_response_config", "cron_cursor_job_id", "cron_cursor_job", "comment"),
    *TRIGGER_KEYS,
)
_EDGE_KEYS = ("condition", "label", "disabled", "enabled", "openfn", "name", "id")


def read_plan(node: Cursor) -> Workflow:
    """Read the CLI's workflow.json: ``{options, workflow: {name, steps}}``."""
    node.mapping(*_PLAN_KEYS)
    return read_workflow(node.at("workflow"), node.at("options"))


def read_workflow(node: Cursor, plan_options: Cursor | None = None) -> Workflow:
    """Read ``{id, name, start, steps}``, or the legacy ``{start, jobs}``.

    ``plan_options`` are the options of the plan around it, used instead of the workflow's own.
    """
    node.mapping(*_WORKFLOW_KEYS)
    options = plan_options
    if options is None or options.value is None:
        options = node.at("options")
    steps = node.first("steps", "jobs")
    if steps.value is None:
        steps.fail("expected a list of steps, found nothing")
    return Workflow(
        name=node.at("name").name("") or node.at("id").name("") or "workflow",
        id=node.at("id").name(""),
        steps=tuple(_read_step(step, id) for step, id in _with_ids(steps)),
        start=_option(options, node, "start") or _default_start(steps),
        end=_option(options, node, "end"),
        options=_without_ends({**read_fleet_options(node), **read_options(options)}),
        credentials=read_credentials(node.at("credentials")),
        globals=read_globals(node.at("globals")),
    )


def _option(options: Cursor, node: Cursor, key: str) -> str:
    option = options.at(key).name("") if options.value is not None else ""
    return option or node.at(key).name("")


def _without_ends(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in ("start", "end")}


def _default_start(steps: Cursor) -> str:
    """Find the first enabled trigger, or else the first trigger; empty means the first step."""
    # A step without code and without a type is no trigger: plans have such steps anywhere.
    triggers = [
        step for step in steps.elements() if step.has("type") and not step.has("expression")
    ]
    enabled = [trigger for trigger in triggers if trigger.at("enabled").flag(default=True)]
    # A disabled trigger keeps its edges: a run that is started by hand goes through it too.
    # Without an id it cannot be named: the first step is then the start.
    return next((trigger.at("id").name("") for trigger in (*enabled, *triggers)), "")


def _with_ids(steps: Cursor) -> Iterator[tuple[Cursor, str]]:
    """Yield each step with its id; those without one are job-1, job-2, counting only these."""
    count = 0
    for step in steps.elements():
        count += not _has_id(step)
        yield step, step.at("id").name() if _has_id(step) else f"job-{count}"


def _has_id(step: Cursor) -> bool:
    return step.at("id").value not in (None, "")


def _read_step(node: Cursor, id: str) -> Step:
    node.mapping(*_STEP_KEYS)
    adaptors = _adaptors(node)
    source, file = read_body(node.at("expression"))
    # Also an empty expression makes a job: in a plan it is the only mark of one.
    trigger = not node.has("expression")
    return Step(
        id=id,
        generated_id=not _has_id(node),
        name=node.at("name").name(""),
        kind=StepKind.TRIGGER if trigger else StepKind.JOB,
        language=detect_language(file, adaptors),
        adaptors=adaptors,
        source=source,
        source_file=file,
        state=_state(node.at("state")),
        configuration=read_configuration(node.at("configuration")),
        edges=deduplicate_edges(_edges(id, node.at("next"))),
        trigger_type=node.at("type").name("") if trigger else "",
        cron=node.at("cron_expression").name("") if trigger else "",
        trigger=read_trigger(node) if trigger else {},
        position=node.position,
    )


def _state(node: Cursor) -> Mapping[str, Any]:
    state = read_data_or_file(node)
    if isinstance(state, str):
        node.fail(f"expected a mapping, or the path of a .json file, found {describe(state)}")
    return state or {}


def _adaptors(node: Cursor) -> tuple[str, ...]:
    adaptor = node.at("adaptor").name("")
    adaptors = tuple(item.name() for item in node.at("adaptors").elements())
    return (adaptor, *adaptors) if adaptor else adaptors


def _edges(source: str, node: Cursor) -> Iterator[tuple[Edge, Cursor]]:
    """Read ``next``: a step, a list of steps, or a mapping of steps to conditions."""
    match node.value:
        case None | "" | False:
            return
        case str():
            yield Edge(source=source, target=node.text(), position=node.position), node
        case list():
            for item in node.elements():
                yield Edge(source=source, target=item.name(), position=item.position), item
        case Mapping():
            for target, edge in node.items():
                yield _edge(source, target, edge), edge
        case _:
            node.fail(f"expected a step, or a mapping of steps, found {describe(node.value)}")


def _edge(source: str, target: str, node: Cursor) -> Edge:
    if not isinstance(node.value, Mapping):
        kind, expression = read_condition(node)
        return Edge(
            source=source, target=target, kind=kind, expression=expression, position=node.position
        )
    node.mapping(*_EDGE_KEYS)
    kind, expression = read_condition(node.at("condition"))
    if kind is EdgeKind.NEVER and not node.has("condition"):
        # OpenFn does not take it, and a run of such a workflow is a success that did nothing.
        node.warn("there is no condition, so this edge is never taken; write condition: always")
    disabled = node.at("disabled").flag(default=False) or not node.at("enabled").flag(default=True)
    return Edge(
        source=source,
        target=target,
        kind=kind,
        expression=expression,
        label=node.at("label").name(""),
        disabled=disabled,
        position=node.position,
    )
