"""Loading of workflows from files and dicts, in any of the formats that describe one.

These are project.yaml version 3 and 4.0 (a project, or one workflow), the CLI's execution plan as
JSON or YAML, bare ``{steps}``, the legacy ``{start, jobs}``, and a Lightning run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from worker.errors import LoadError
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe, shorten, to_plain_data
from worker.workflow.documents.document import Document, read_document
from worker.workflow.formats import execution_plan, project_v3
from worker.workflow.model import Workflow

Reader = Callable[[Cursor], Workflow]

EXPECTED = (
    "a project (workflows), a workflow (steps, or jobs and edges), an execution plan (workflow), "
    "or a Lightning run (jobs, triggers, edges)"
)
_PROJECT_KEYS = (
    *("id", "uuid", "name", "description", "workflows", "credentials", "collections", "globals"),
    *("schema_version", "version", "cli", "openfn", "options", "allow_support_access", "channels"),
    *("concurrency", "color", "env", "parent_id", "history_retention_period", "sandbox"),
    *("dataclip_retention_period", "requires_mfa", "retention_policy", "scheduled_deletion"),
    *("inserted_at", "updated_at", "project_credentials", "project_users"),
)


def load(
    source: str | Path | Mapping[str, Any], *, workflow: str | None = None, located: bool = False
) -> Workflow:
    """Load a workflow from a path, or from a dict in any of the formats.

    ``workflow`` selects one of a project's workflows by its key, id or name. With ``located``,
    steps and edges have their position also in a JSON file. Raises
    :class:`LoadError` with the file, the path inside it, the value found and the
    value expected.
    """
    document = _document(source, located=located)
    node = Cursor(document, document.root)
    loaded = _read(node, workflow)
    return replace(loaded, file=document.file, warnings=tuple(node.warnings))


def workflow_names(source: str | Path | Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names that select the workflows of a project; none if the file is no project."""
    document = _document(source)
    node = Cursor(document, document.root)
    return tuple(key for key, _ in _workflows(node)) if node.has("workflows") else ()


def _document(source: object, *, located: bool = False) -> Document:
    match source:
        case Mapping():
            return Document(file="<dict>", root=to_plain_data(source, "<dict>"))
        case str() | Path():
            return read_document(Path(source), located=located)
        case _:
            raise LoadError(f"expected a path or a mapping, found {describe(source)}")


def _read(node: Cursor, name: str | None) -> Workflow:
    if node.has("workflows"):
        selected = _select(node.mapping(*_PROJECT_KEYS), name)
        return _detect_reader(selected)(selected)
    workflow = _detect_reader(node)(node)
    if name is not None and name not in (workflow.name, workflow.id):
        node.fail(f"expected a workflow named '{name}', found one workflow, '{workflow.name}'")
    return workflow


def _select(node: Cursor, name: str | None) -> Cursor:
    """Select a project's workflow by name, or its only one."""
    choices, workflows = _workflows(node), node.at("workflows")
    listed = ", ".join(f"'{shorten(key)}'" for key, _ in choices)
    if not choices:
        workflows.fail("the project has no workflows")
    if name is None and len(choices) > 1:
        workflows.fail(f"the project has several workflows: pick one with --workflow ({listed})")
    matching = [choice for key, choice in choices if name is None or name in _names(key, choice)]
    if len(matching) != 1:
        count = "several" if matching else "none"
        workflows.fail(f"expected one workflow named '{name}', found {count} (there are: {listed})")
    return matching[0]


def _workflows(node: Cursor) -> list[tuple[str, Cursor]]:
    """List the workflows of a project, each with the name that primarily selects it."""
    workflows = node.at("workflows")
    if not isinstance(workflows.value, list):
        return list(workflows.items())
    return [(node.first("id", "name").name(), node) for node in workflows.elements()]


def _names(key: str, node: Cursor) -> tuple[str, ...]:
    return key, node.at("id").name(""), node.at("name").name("")


def _detect_reader(node: Cursor) -> Reader:
    """Detect a workflow's format by the keys that only this format has."""
    if not isinstance(node.value, Mapping):
        node.fail(f"expected {EXPECTED}, found {describe(node.value)}")
    if node.has("workflow"):
        return execution_plan.read_plan
    if node.has("steps"):
        return execution_plan.read_workflow
    if node.has("jobs"):
        return _detect_jobs_reader(node)
    keys = ", ".join(f"'{shorten(key)}'" for key in list(node.value)[:8]) or "no keys"
    node.fail(f"expected {EXPECTED}, found {keys}")


def _detect_jobs_reader(node: Cursor) -> Reader:
    jobs = node.at("jobs")
    match jobs.value:
        # A legacy workflow, too, lists its jobs: a run is known by its other keys.
        case list():
            run_keys = ("edges", "triggers", "starting_node_id", "dataclip_id")
            is_run = any(map(node.has, run_keys))
            return project_v3.read_run if is_run else execution_plan.read_workflow
        case Mapping() | None:
            return project_v3.read_workflow
        case _:
            jobs.fail(f"expected a mapping of jobs, or a list, found {describe(jobs.value)}")
