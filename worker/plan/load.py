"""Loading: a workflow from a file or a dict, in any of the formats that describe one.

project.yaml version 3 and 4.0 (a project, or one workflow), the CLI's execution plan as JSON or
YAML, bare ``{steps}``, the legacy ``{start, jobs}``, and a Lightning run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.plan.document import Document, check_nesting, read_document
from worker.plan.formats import lightning, steps
from worker.plan.reader import Node, kind_of
from worker.plan.workflow import Workflow

Reader = Callable[[Node], Workflow]

KNOWN = (
    "a project (workflows), a workflow (steps, or jobs and edges), an execution plan (workflow), "
    "or a Lightning run (jobs, triggers, edges)"
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
    node = Node(document, document.root)
    chosen, read = _pick(node, workflow)
    found = read(chosen)
    return replace(found, file=document.file, warnings=tuple(node.warnings))


def workflow_names(source: str | Path | Mapping[str, Any]) -> tuple[str, ...]:
    """The names by which the workflows of a file can be picked; empty where there is one alone."""
    document = _document(source)
    return tuple(_project(Node(document, document.root)))


def _document(source: str | Path | Mapping[str, Any], *, located: bool = False) -> Document:
    if isinstance(source, Mapping):
        document = Document(file="<dict>", root=source)
        check_nesting(source, document.file)
        return document
    return read_document(Path(source), located=located)


def _pick(node: Node, wanted: str | None) -> tuple[Node, Reader]:
    if node.has("workflows"):
        return _pick_of_project(node, wanted)
    reader = _reader_of(node)
    if wanted is not None and (found := reader(node)).name != wanted and found.id != wanted:
        node.fail(f"expected a workflow named '{wanted}', found one workflow, '{found.name}'")
    return node, reader


def _pick_of_project(node: Node, wanted: str | None) -> tuple[Node, Reader]:
    choices = _project(node)
    if wanted is None and len(choices) == 1:
        wanted = next(iter(choices))
    listed = ", ".join(f"'{name}'" for name in choices) or "none"
    if wanted is None:
        node.fail(f"the project has several workflows: pick one with --workflow ({listed})")
    matching = [one for key, one in choices.items() if wanted in _names(key, one)]
    if len(matching) != 1:
        found = "several" if matching else "none"
        node.at("workflows").fail(
            f"expected one workflow named '{wanted}', found {found}: {listed}"
        )
    return matching[0], _reader_of(matching[0])


def _project(node: Node) -> dict[str, Node]:
    """The workflows of a project by the names that pick them; empty where it is no project."""
    if not node.has("workflows"):
        return {}
    workflows = node.at("workflows")
    if isinstance(workflows.value, list | tuple):
        listed = list(workflows.elements())
        return {one.mapping().first("id", "name").name(): one for one in listed}
    return dict(workflows.items())


def _names(key: str, node: Node) -> tuple[str, ...]:
    return key, node.mapping().at("id").name(""), node.at("name").name("")


def _reader_of(node: Node) -> Reader:
    """Which format a workflow is written in, told by the keys that only it has."""
    if not isinstance(node.value, Mapping):
        node.fail(f"expected {KNOWN}, found {kind_of(node.value)}")
    if node.has("workflow"):
        return steps.read_plan
    if node.has("steps"):
        return steps.read_workflow
    jobs = node.at("jobs").value
    if isinstance(jobs, list | tuple):
        listed = node.has("edges") or node.has("triggers")
        return lightning.read_run if listed else steps.read_workflow
    if isinstance(jobs, Mapping):
        return lightning.read_workflow
    keys = ", ".join(f"'{key}'" for key in list(node.value)[:8]) or "no keys"
    node.fail(f"expected {KNOWN}, found {keys}")
