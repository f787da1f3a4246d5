"""Formats that list jobs, triggers and edges apart: project.yaml version 3, and Lightning runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from worker.plan.formats.common import (
    body,
    condition,
    data_or_file,
    language_of,
    without_doubles,
)
from worker.plan.reader import Node
from worker.plan.workflow import Edge, EdgeKind, Step, StepKind, Workflow

_WORKFLOW_KEYS = (
    *("id", "name", "jobs", "triggers", "edges", "concurrency", "enable_job_logs", "deleted_at"),
    *("inserted_at", "updated_at", "lock_version", "positions", "version_history"),
)
_RUN_KEYS = (
    *("id", "name", "jobs", "triggers", "edges", "dataclip_id", "starting_node_id", "options"),
    *("project_id", "workflow_id", "workflow_name", "status"),
)
_JOB_KEYS = (
    *("id", "name", "adaptor", "credential", "credential_id", "body", "enabled", "state"),
    *("project_credential_id", "keychain_credential_id", "configuration"),
)
_EDGE_KEYS = (
    *("id", "source_trigger", "source_job", "target_job", "condition_type", "condition"),
    *("condition_expression", "condition_label", "label", "enabled", "errors_path"),
    *("source_trigger_id", "source_job_id", "target_job_id"),
)


def read_workflow(node: Node) -> Workflow:
    """One workflow of a version 3 project; jobs, triggers and edges are mappings by key."""
    node.mapping(*_WORKFLOW_KEYS)
    triggers = dict(node.at("triggers").items())
    jobs = dict(node.at("jobs").items())
    nodes = {("trigger", key): _apart(key, jobs) for key in triggers}
    nodes |= {("job", key): key for key in jobs}
    edges = _edges_by_source(node.at("edges").items(), nodes)
    return Workflow(
        name=node.at("name").name("") or str(node.path[-1] if node.path else "workflow"),
        id=str(node.path[-1]) if node.path else "",
        steps=(
            *(_trigger(nodes["trigger", key], one, edges) for key, one in triggers.items()),
            *(_job(key, one, edges) for key, one in jobs.items()),
        ),
        start=_start(triggers, nodes, jobs, edges),
    )


def _apart(key: str, jobs: Mapping[str, Node]) -> str:
    """A trigger's id; a job may have the same key."""
    return f"trigger:{key}" if key in jobs else key


def read_run(node: Node) -> Workflow:
    """A Lightning run; jobs, triggers and edges are lists, and name each other by ids."""
    node.mapping(*_RUN_KEYS)
    triggers = {one.at("id").name(): one for one in node.at("triggers").elements()}
    jobs = {one.at("id").name(): one for one in node.at("jobs").elements()}
    nodes = {("trigger", id): id for id in triggers} | {("job", id): id for id in jobs}
    listed = ((edge.at("id").name(""), edge) for edge in node.at("edges").elements())
    edges = _edges_by_source(listed, nodes)
    start = node.at("starting_node_id").name("")
    return Workflow(
        name=node.first("name", "workflow_name").name("") or "run",
        id=node.at("id").name(""),
        steps=(
            *(_trigger(id, one, edges) for id, one in triggers.items()),
            *(_job(id, one, edges) for id, one in jobs.items()),
        ),
        start=start or _start(triggers, nodes, jobs, edges),
        options=node.at("options").data(),
    )


Edges = dict[str, list[tuple[Edge, Node]]]


def _start(
    triggers: Mapping[str, Node],
    nodes: Mapping[tuple[str, str], str],
    jobs: Mapping[str, Node],
    edges: Edges,
) -> str:
    """The first trigger that is enabled, else the first trigger, else the first job that no edge
    leads to."""
    enabled = [key for key, one in triggers.items() if one.at("enabled").flag(default=True)]
    for key in (*enabled, *triggers):
        return nodes["trigger", key]
    targets = {edge.target for several in edges.values() for edge, _ in several}
    return next((key for key in jobs if key not in targets), "")


def _trigger(id: str, node: Node, edges: Edges) -> Step:
    node.mapping()
    return Step(
        id=id,
        kind=StepKind.TRIGGER,
        edges=without_doubles(edges.get(id, ())),
        trigger_type=node.at("type").name(""),
        place=node.place,
    )


def _job(id: str, node: Node, edges: Edges) -> Step:
    node.mapping(*_JOB_KEYS)
    adaptor = node.at("adaptor").name("")
    adaptors = (adaptor,) if adaptor else ()
    source, file = body(node.at("body"))
    return Step(
        id=id,
        name=node.at("name").name(""),
        language=language_of(file, adaptors),
        adaptors=adaptors,
        source=source,
        source_file=file,
        state=node.at("state").data(),
        configuration=data_or_file(node.first("configuration", "credential", "credential_id")),
        edges=without_doubles(edges.get(id, ())),
        place=node.place,
    )


def _edges_by_source(
    listed: Iterator[tuple[str, Node]], nodes: Mapping[tuple[str, str], str]
) -> Edges:
    found: Edges = {}
    for _, node in listed:
        edge = _edge(node, nodes)
        found.setdefault(edge.source, []).append((edge, node))
    return found


def _edge(node: Node, nodes: Mapping[tuple[str, str], str]) -> Edge:
    node.mapping(*_EDGE_KEYS)
    kind, expression = _condition(node)
    return Edge(
        source=_source(node, nodes),
        target=node.first("target_job", "target_job_id").name(),
        kind=kind,
        expression=expression,
        label=node.first("condition_label", "label").name(""),
        disabled=not node.at("enabled").flag(default=True),
        place=node.place,
    )


def _source(node: Node, nodes: Mapping[tuple[str, str], str]) -> str:
    for kind in ("trigger", "job"):
        named = node.first(f"source_{kind}", f"source_{kind}_id")
        if named.value is not None:
            name = named.name()
            if (kind, name) not in nodes:
                named.fail(f"there is no {kind} '{name}'")
            return nodes[kind, name]
    node.fail("expected source_trigger or source_job, found neither")


def _condition(node: Node) -> tuple[EdgeKind, str]:
    """``condition_type`` (older: ``condition``), with ``condition_expression`` for expressions.

    An edge that says nothing is always followed.
    """
    type = node.first("condition_type", "condition")
    written: Any = type.value
    if written is None:
        written = node.at("condition_expression").value
        return condition("always" if written is None else written, type)
    if written == "js_expression":
        expression = node.at("condition_expression")
        return condition(expression.value, expression)
    return condition(written, type)
