"""Loading: a workflow from a file or a dict, in any of the formats that describe one.

project.yaml version 3 and 4.0 (a project, or one workflow), the CLI's execution plan as JSON or
YAML, bare ``{steps}``, the legacy ``{start, jobs}``, and a Lightning run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.errors import LoadError
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe, shorten, to_plain_data
from worker.workflow.documents.document import Document, read_document
from worker.workflow.formats import execution_plan as steps
from worker.workflow.formats import project_v3 as lightning
from worker.workflow.model import Workflow

Reader = Callable[[Cursor], Workflow]

KNOWN = (
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
    """A workflow from a path, or from a dict in any of the formats.

    ``workflow`` picks one of a project by its key, id or name. Raises
    :class:`worker.errors.LoadError` with the file, the path inside it, what was found and what
    was expected. ``located`` gives steps and edges their places in JSON files too.
    """
    document = _document(source, located=located)
    node = Cursor(document, document.root)
    found = _read(node, workflow)
    return replace(found, file=document.file, warnings=tuple(node.warnings))


def workflow_names(source: str | Path | Mapping[str, Any]) -> tuple[str, ...]:
    """The names by which the workflows of a file can be picked; empty where there is one alone."""
    document = _document(source)
    node = Cursor(document, document.root)
    return tuple(key for key, _ in _project(node)) if node.has("workflows") else ()


def _document(source: object, *, located: bool = False) -> Document:
    match source:
        case Mapping():
            return Document(file="<dict>", root=to_plain_data(source, "<dict>"))
        case str() | Path():
            return read_document(Path(source), located=located)
        case _:
            raise LoadError(f"expected a path or a mapping, found {describe(source)}")


def _read(node: Cursor, wanted: str | None) -> Workflow:
    if node.has("workflows"):
        chosen = _pick(node.mapping(*_PROJECT_KEYS), wanted)
        return _reader_of(chosen)(chosen)
    found = _reader_of(node)(node)
    if wanted is not None and wanted not in (found.name, found.id):
        node.fail(f"expected a workflow named '{wanted}', found one workflow, '{found.name}'")
    return found


def _pick(node: Cursor, wanted: str | None) -> Cursor:
    """The workflow of a project that is meant."""
    choices, place = _project(node), node.at("workflows")
    listed = ", ".join(f"'{shorten(key)}'" for key, _ in choices)
    if not choices:
        place.fail("the project has no workflows")
    if wanted is None and len(choices) > 1:
        place.fail(f"the project has several workflows: pick one with --workflow ({listed})")
    matching = [one for key, one in choices if wanted is None or wanted in _names(key, one)]
    if len(matching) != 1:
        found = "several" if matching else "none"
        place.fail(f"expected one workflow named '{wanted}', found {found} (there are: {listed})")
    return matching[0]


def _project(node: Cursor) -> list[tuple[str, Cursor]]:
    """The workflows of a project, each with the name that picks it first of all."""
    workflows = node.at("workflows")
    if not isinstance(workflows.value, list):
        return list(workflows.items())
    return [(one.first("id", "name").name(), one) for one in workflows.elements()]


def _names(key: str, node: Cursor) -> tuple[str, ...]:
    return key, node.at("id").name(""), node.at("name").name("")


def _reader_of(node: Cursor) -> Reader:
    """Which format a workflow is written in, told by the keys that only it has."""
    if not isinstance(node.value, Mapping):
        node.fail(f"expected {KNOWN}, found {describe(node.value)}")
    if node.has("workflow"):
        return steps.read_plan
    if node.has("steps"):
        return steps.read_workflow
    if node.has("jobs"):
        return _reader_of_jobs(node)
    keys = ", ".join(f"'{shorten(key)}'" for key in list(node.value)[:8]) or "no keys"
    node.fail(f"expected {KNOWN}, found {keys}")


def _reader_of_jobs(node: Cursor) -> Reader:
    jobs = node.at("jobs")
    match jobs.value:
        case list():
            of_a_run = ("edges", "triggers", "starting_node_id", "dataclip_id")
            return lightning.read_run if any(map(node.has, of_a_run)) else steps.read_workflow
        case Mapping() | None:
            return lightning.read_workflow
        case _:
            jobs.fail(f"expected a mapping of jobs, or a list, found {describe(jobs.value)}")
