"""Formats whose steps carry their edges in ``next``: execution plans and project.yaml 4.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe
from worker.workflow.formats.common import (
    deduplicate_edges,
    detect_language,
    read_body,
    read_condition,
    read_data_or_file,
    read_options,
    warn_about_globals,
)
from worker.workflow.model import Edge, Step, StepKind, Workflow

_PLAN_KEYS = ("options", "workflow", "id", "sourcePath", "version", "schema_version")
_WORKFLOW_KEYS = (
    *("id", "name", "start", "end", "steps", "jobs", "globals", "options", "credentials"),
    *("schema_version", "version", "openfn", "history", "lock_version", "uuid", "cli"),
    *("concurrency", "description"),
)
_STEP_KEYS = (
    *("id", "name", "adaptor", "adaptors", "expression", "state", "configuration", "next"),
    *("type", "enabled", "project_credential_id", "openfn", "cron_expression", "previous"),
    *("keychain_credential_id", "linker", "webhook_reply", "custom_path", "cron_cursor"),
)
_EDGE_KEYS = ("condition", "label", "disabled", "enabled", "openfn", "name", "id")


def read_plan(node: Cursor) -> Workflow:
    """The CLI's workflow.json: ``{options, workflow: {name, steps}}``."""
    node.mapping(*_PLAN_KEYS)
    return read_workflow(node.at("workflow"), node.at("options"))


def read_workflow(node: Cursor, around: Cursor | None = None) -> Workflow:
    """``{id, name, start, steps}``, and the legacy ``{start, jobs}``; ``around`` has the options
    of a plan, which come before the workflow's own."""
    node.mapping(*_WORKFLOW_KEYS)
    warn_about_globals(node)
    options = around if around is not None and around.value is not None else node.at("options")
    listed = node.first("steps", "jobs")
    if listed.value is None:
        listed.fail("expected a list of steps, found nothing")
    return Workflow(
        name=node.at("name").name("") or node.at("id").name("") or "workflow",
        id=node.at("id").name(""),
        steps=tuple(_read_step(step) for step in listed.elements()),
        start=_named(options, node, "start") or _trigger_to_start(listed),
        end=_named(options, node, "end"),
        options=_without_ends(read_options(options)),
    )


def _named(options: Cursor, node: Cursor, key: str) -> str:
    given = options.at(key).name("") if options.value is not None else ""
    return given or node.at(key).name("")


def _without_ends(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in ("start", "end")}


def _trigger_to_start(listed: Cursor) -> str:
    """The first trigger that is enabled, else the first trigger, else none: the first step.

    A disabled trigger keeps its edges: a run that is started by hand goes through it all the same.
    Only what has a ``type`` is a trigger here; a plan's steps without code start by their place.
    """
    triggers = [one for one in listed.elements() if one.has("type") and not one.has("expression")]
    enabled = [one for one in triggers if one.at("enabled").flag(default=True)]
    return next((_id(one) for one in (*enabled, *triggers)), "")


def _id(node: Cursor) -> str:
    return node.at("id").name("" if node.has("name") else None) or node.at("name").name()


def _read_step(node: Cursor) -> Step:
    node.mapping(*_STEP_KEYS)
    adaptors = _adaptors(node)
    source, file = read_body(node.at("expression"))
    trigger = not node.has("expression")
    return Step(
        id=_id(node),
        name=node.at("name").name(""),
        kind=StepKind.TRIGGER if trigger else StepKind.JOB,
        language=detect_language(file, adaptors),
        adaptors=adaptors,
        source=source,
        source_file=file,
        state=_state(node.at("state")),
        configuration=read_data_or_file(node.at("configuration")),
        edges=deduplicate_edges(_edges(_id(node), node.at("next"))),
        trigger_type=node.at("type").name("") if trigger else "",
        cron=node.at("cron_expression").name("") if trigger else "",
        place=node.place,
    )


def _state(node: Cursor) -> Mapping[str, Any]:
    found = read_data_or_file(node)
    if isinstance(found, str):
        node.fail(f"expected a mapping, or the path of a .json file, found {describe(found)}")
    return found or {}


def _adaptors(node: Cursor) -> tuple[str, ...]:
    one = node.at("adaptor").name("")
    several = tuple(item.name() for item in node.at("adaptors").elements())
    return (one, *several) if one else several


def _edges(source: str, node: Cursor) -> Iterator[tuple[Edge, Cursor]]:
    """``next``: a step, several, or a map of steps to conditions."""
    match node.value:
        case None | "" | False:
            return
        case str():
            yield Edge(source=source, target=node.text(), place=node.place), node
        case list():
            for item in node.elements():
                yield Edge(source=source, target=item.name(), place=item.place), item
        case Mapping():
            for target, edge in node.items():
                yield _edge(source, target, edge), edge
        case _:
            node.fail(f"expected a step, or a mapping of steps, found {describe(node.value)}")


def _edge(source: str, target: str, node: Cursor) -> Edge:
    if not isinstance(node.value, Mapping):
        kind, expression = read_condition(node)
        return Edge(
            source=source, target=target, kind=kind, expression=expression, place=node.place
        )
    node.mapping(*_EDGE_KEYS)
    kind, expression = read_condition(node.at("condition"))
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
