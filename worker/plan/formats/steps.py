"""Formats whose steps carry their edges in ``next``: execution plans and project.yaml 4.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker.plan.formats.common import (
    body,
    condition,
    data_or_file,
    language_of,
    without_doubles,
)
from worker.plan.reader import Node
from worker.plan.workflow import Edge, Step, StepKind, Workflow

PLAN_KEYS = ("options", "workflow", "id", "sourcePath", "version")
WORKFLOW_KEYS = (
    *("id", "name", "start", "end", "steps", "jobs", "globals", "options", "credentials"),
    *("schema_version", "version", "openfn", "history", "lock_version", "uuid", "cli"),
)
_STEP_KEYS = (
    *("id", "name", "adaptor", "adaptors", "expression", "state", "configuration", "next"),
    *("type", "enabled", "project_credential_id", "openfn", "cron_expression", "previous"),
    *("keychain_credential_id", "linker", "webhook_reply", "custom_path"),
)
_EDGE_KEYS = ("condition", "label", "disabled", "enabled", "openfn", "name", "id")
_OPTION_NAMES = {
    "runTimeoutMs": "run_timeout_ms",
    "timeout": "run_timeout_ms",
    "memoryLimitMb": "run_memory_limit_mb",
    "payloadLimitMb": "payload_limit_mb",
    "logPayloadLimitMb": "log_payload_limit_mb",
}


def read_plan(node: Node) -> Workflow:
    """The CLI's workflow.json: ``{options, workflow: {name, steps}}``."""
    node.mapping(*PLAN_KEYS)
    return read_workflow(node.at("workflow"), options=node.at("options"))


def read_workflow(node: Node, options: Node | None = None) -> Workflow:
    """``{id, name, start, steps}``, and the legacy ``{start, jobs}``."""
    node.mapping(*WORKFLOW_KEYS)
    if node.at("globals").value is not None:
        node.at("globals").warn("global functions are not supported: jobs will not find them")
    given = options if options is not None and options.value is not None else node.at("options")
    opts = {_OPTION_NAMES.get(key, key): value.value for key, value in given.items()}
    steps = tuple(_read_step(step) for step in node.first("steps", "jobs").elements())
    start = node.at("start").name("") or str(opts.pop("start", None) or "")
    return Workflow(
        name=node.at("name").name("") or node.at("id").name("") or "workflow",
        id=node.at("id").name(""),
        steps=steps,
        start=start or _first_enabled_trigger(node),
        end=node.at("end").name("") or str(opts.pop("end", None) or ""),
        options=opts,
    )


def _first_enabled_trigger(node: Node) -> str:
    """Where a run starts by default: the first step, unless that is a disabled trigger and
    another trigger is enabled."""
    steps = list(node.first("steps", "jobs").elements())
    triggers = [step for step in steps if step.has("type")]
    enabled = [step for step in triggers if step.at("enabled").flag(default=True)]
    return enabled[0].at("id").name("") if enabled else ""


def _read_step(node: Node) -> Step:
    node.mapping(*_STEP_KEYS)
    adaptors = _adaptors(node)
    source, file = body(node.at("expression"))
    trigger = not node.has("expression")
    state = data_or_file(node.at("state"))
    id = node.at("id").name("" if node.has("name") else None) or node.at("name").name()
    return Step(
        id=id,
        name=node.at("name").name(""),
        kind=StepKind.TRIGGER if trigger else StepKind.JOB,
        language=language_of(file, adaptors),
        adaptors=adaptors,
        source=source,
        source_file=file,
        state=state if isinstance(state, Mapping) else {},
        configuration=data_or_file(node.at("configuration")),
        edges=without_doubles(_edges(id, node.at("next"))),
        trigger_type=node.at("type").name("") if trigger else "",
        place=node.place,
    )


def _adaptors(node: Node) -> tuple[str, ...]:
    one = node.at("adaptor").name("")
    several = tuple(item.name() for item in node.at("adaptors").elements())
    return (one, *several) if one else several


def _edges(source: str, node: Node) -> Iterator[tuple[Edge, Node]]:
    """``next``: a step, several, or a map of steps to conditions."""
    match node.value:
        case None | "" | False:
            return
        case str(target):
            yield Edge(source=source, target=target, place=node.place), node
        case list() | tuple():
            for item in node.elements():
                yield Edge(source=source, target=item.name(), place=item.place), item
        case _:
            for target, edge in node.items():
                yield _edge(source, target, edge), edge


def _edge(source: str, target: str, node: Node) -> Edge:
    if not isinstance(node.value, Mapping):
        kind, expression = condition(node.value, node)
        return Edge(
            source=source, target=target, kind=kind, expression=expression, place=node.place
        )
    node.mapping(*_EDGE_KEYS)
    kind, expression = condition(node.at("condition").value, node.at("condition"))
    disabled = node.at("disabled").flag(default=False) or not node.at("enabled").flag(default=True)
    return Edge(
        source=source,
        target=target,
        kind=kind,
        expression=expression,
        label=node.at("label").name(""),
        disabled=disabled,
        place=node.place,
    )
