"""Readers of formats with separate jobs, triggers and edges: project.yaml 3, Lightning runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe, did_you_mean, shorten
from worker.workflow.formats.common import (
    TRIGGER_KEYS,
    deduplicate_edges,
    detect_language,
    read_body,
    read_condition,
    read_credentials,
    read_globals,
    read_options,
    read_trigger,
)
from worker.workflow.formats.fleet_options import FLEET_OPTIONS, read_fleet_options
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

_WORKFLOW_KEYS = (
    *("id", "name", "jobs", "triggers", "edges", "concurrency", "enable_job_logs", "deleted_at"),
    *("inserted_at", "updated_at", "lock_version", "positions", "version_history", "delete"),
    *FLEET_OPTIONS,
    "project_id",
)
_RUN_KEYS = (
    *("id", "name", "jobs", "triggers", "edges", "dataclip_id", "starting_node_id", "options"),
    *("project_id", "workflow_id", "workflow_name", "status", "globals", "credentials"),
    # A run that was exported with what it did.
    *("steps", "logs", "dataclips", "state", "error_type", "priority", "starting_trigger_id"),
    *("starting_job_id", "created_by_id", "work_order_id", "snapshot_id", "options_id"),
    *("inserted_at", "updated_at", "claimed_at", "started_at", "finished_at", "final_dataclip_id"),
)
_JOB_KEYS = (
    *("id", "name", "adaptor", "credential", "credential_id", "body", "enabled", "state"),
    *("project_credential_id", "keychain_credential_id", "configuration", "delete"),
    *("inserted_at", "updated_at", "workflow_id"),
)
_TRIGGER_KEYS = (
    *("id", "name", "type", "enabled", "cron_expression", "cron_cursor", "cron_cursor_job"),
    *("kafka_configuration", "webhook_reply", "custom_path", "comment", "delete"),
    *("webhook_response_config", "cron_cursor_job_id", "has_auth_method", "inserted_at"),
    *("updated_at", "workflow_id", "webhook_auth_methods"),
    *TRIGGER_KEYS,
)
_EDGE_KEYS = (
    *("id", "source_trigger", "source_job", "target_job", "condition_type", "condition"),
    *("condition_expression", "condition_label", "label", "enabled", "errors_path", "delete"),
    *("source_trigger_id", "source_job_id", "target_job_id", "inserted_at", "updated_at"),
    "workflow_id",
)
_CONDITION_TYPES = ("always", "on_job_success", "on_job_failure", "js_expression")

NamedCursors = tuple[tuple[str, Cursor], ...]
Edges = dict[str, list[tuple[Edge, Cursor]]]


def read_workflow(node: Cursor) -> Workflow:
    """Read a workflow of a version 3 project; jobs, triggers and edges are mappings by key."""
    node.mapping(*_WORKFLOW_KEYS)
    key = str(node.path[-1]) if node.path else ""
    parts = _Parts(
        triggers=tuple(node.at("triggers").items()),
        jobs=tuple(node.at("jobs").items()),
        edges=tuple(edge for _, edge in node.at("edges").items()),
    )
    return Workflow(
        name=node.at("name").name("") or key or "workflow",
        id=key or node.at("id").name(""),
        steps=parts.steps(),
        start=parts.start(),
        options=read_fleet_options(node),
    )


def read_run(node: Cursor) -> Workflow:
    """Read a Lightning run; jobs, triggers and edges are lists, and refer to each other by ids."""
    node.mapping(*_RUN_KEYS)
    parts = _Parts(
        triggers=tuple((item.at("id").name(), item) for item in node.at("triggers").elements()),
        jobs=tuple((item.at("id").name(), item) for item in node.at("jobs").elements()),
        edges=tuple(node.at("edges").elements()),
    )
    return Workflow(
        name=node.first("name", "workflow_name").name("") or "run",
        id=node.at("id").name(""),
        steps=parts.steps(),
        start=node.at("starting_node_id").name("") or parts.start(),
        options=read_options(node.at("options")),
        credentials=read_credentials(node.at("credentials")),
        globals=read_globals(node.at("globals")),
    )


class _Parts(Struct, frozen=True, kw_only=True):
    """Parts of a workflow in either format: triggers and jobs by name, and their edges."""

    triggers: NamedCursors
    jobs: NamedCursors
    edges: tuple[Cursor, ...]

    def steps(self) -> tuple[Step, ...]:
        ids = self.ids()
        edges: Edges = {}
        for node in self.edges:
            edge = _edge(node, ids)
            edges.setdefault(edge.source, []).append((edge, node))
        return (
            *(_trigger(ids["trigger", name], node, edges) for name, node in self.triggers),
            *(_job(name, node, edges) for name, node in self.jobs),
        )

    def ids(self) -> dict[tuple[str, str], str]:
        """Return step ids by kind and name; in a deploy state, also by what it has as ids."""
        # A trigger and a job may share a name: the job keeps it, as other files refer to jobs.
        jobs = {name: name for name, _ in self.jobs}
        triggers = {name: f"trigger:{name}" if name in jobs else name for name, _ in self.triggers}
        ids: dict[tuple[str, str], str] = {}
        for kind, parts, names in (("job", self.jobs, jobs), ("trigger", self.triggers, triggers)):
            by_uuid = {node.at("id").name(""): names[name] for name, node in parts}
            ids |= {(kind, name): id for name, id in {**by_uuid, **names}.items() if name}
        return ids

    def start(self) -> str:
        """Find where runs start by default.

        This is the first enabled trigger, or else the first trigger, or else the first job that no
        edge leads to.
        """
        # A disabled trigger keeps its edges: as on OpenFn, a run that is started by hand goes
        # through it to the first job.
        enabled = [name for name, node in self.triggers if node.at("enabled").flag(default=True)]
        for name in (*enabled, *(name for name, _ in self.triggers)):
            return self.ids()["trigger", name]
        ids = self.ids()
        targets = {_target(edge, ids) for edge in self.edges}
        return next((name for name, _ in self.jobs if name not in targets), "")


def _trigger(id: str, node: Cursor, edges: Edges) -> Step:
    node.mapping(*_TRIGGER_KEYS)
    return Step(
        id=id,
        kind=StepKind.TRIGGER,
        edges=deduplicate_edges(edges.get(id, ())),
        trigger_type=node.at("type").name(""),
        cron=node.at("cron_expression").name(""),
        trigger=read_trigger(node),
        position=node.position,
    )


def _job(id: str, node: Cursor, edges: Edges) -> Step:
    node.mapping(*_JOB_KEYS)
    adaptor = node.at("adaptor").name("")
    adaptors = (adaptor,) if adaptor else ()
    source, file = read_body(node.at("body"))
    return Step(
        id=id,
        name=node.at("name").name(""),
        language=detect_language(file, adaptors),
        adaptors=adaptors,
        source=source,
        source_file=file,
        state=node.at("state").data(),
        configuration=_credential(node.first("configuration", "credential", "credential_id")),
        edges=deduplicate_edges(edges.get(id, ())),
        position=node.position,
    )


def _credential(node: Cursor) -> dict[str, Any] | str | None:
    """Read a credential's content, or the name of one."""
    if isinstance(node.value, str):
        return node.name()
    return None if node.value is None else node.data()


def _edge(node: Cursor, ids: dict[tuple[str, str], str]) -> Edge:
    node.mapping(*_EDGE_KEYS)
    kind, expression = _condition(node)
    return Edge(
        source=_source(node, ids),
        target=_target(node, ids),
        kind=kind,
        expression=expression,
        label=node.first("condition_label", "label").name(""),
        disabled=not node.at("enabled").flag(default=True),
        position=node.position,
    )


def _target(node: Cursor, ids: Mapping[tuple[str, str], str]) -> str:
    # An unknown target is left to the check of the plan, which refuses the run and not the file.
    name = node.first("target_job", "target_job_id").name()
    return ids.get(("job", name), name)


def _source(node: Cursor, ids: dict[tuple[str, str], str]) -> str:
    # An exported edge may have both keys, one of them null.
    for kind in ("trigger", "job"):
        source = node.first(f"source_{kind}", f"source_{kind}_id")
        if source.value is not None:
            name = source.name()
            if (kind, name) not in ids:
                known = _names(kind, ids)
                source.fail(f"there is no {kind} '{shorten(name)}'{did_you_mean(name, known)}")
            return ids[kind, name]
    node.fail("expected source_trigger or source_job, found neither")


def _names(kind: str, ids: Iterable[tuple[str, str]]) -> list[str]:
    return [name for kind_of_step, name in ids if kind_of_step == kind]


def _condition(node: Cursor) -> tuple[EdgeKind, str]:
    """Read ``condition_type`` (older: ``condition``) and ``condition_expression``."""
    type = node.first("condition_type", "condition")
    expression = node.at("condition_expression")
    # OpenFn takes an edge without any condition in this format alone; in a plan it does not.
    if type.value is None and expression.value is None:
        return EdgeKind.ALWAYS, ""
    if type.value is None or type.value == "js_expression":
        if expression.value is None:
            type.warn("there is no condition_expression, so this edge is never taken")
        return read_condition(expression)
    if type.path[-1] == "condition_type" and type.value not in (*_CONDITION_TYPES, True, False):
        _fail_type(type)
    return read_condition(type)


def _fail_type(node: Cursor) -> None:
    hint = did_you_mean(node.value, _CONDITION_TYPES) if isinstance(node.value, str) else ""
    expected = ", ".join(_CONDITION_TYPES)
    node.fail(f"expected one of {expected}, found {describe(node.value)}{hint}")
