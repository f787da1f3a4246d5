"""Project checkouts: a folder with openfn.yaml, and a folder for each workflow.

Current tools of OpenFn check a project out as ``workflows/NAME/NAME.yaml`` with the jobs beside it;
older ones as one ``project.yaml`` with all workflows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from worker.errors import LoadError
from worker.util.path_checks import is_dir, is_file
from worker.workflow.documents.document import Document, read_document
from worker.workflow.documents.near_files import list_files

_CONFIGURATIONS = ("openfn.yaml", "openfn.yml", "openfn.json")
_PROJECTS = ("project.yaml", "project.yml", "project.json")
SUFFIXES = (".yaml", ".yml", ".json")
_WORKFLOW_KEYS = frozenset(("workflows", "workflow", "steps", "jobs"))


def is_workflow(root: Any) -> bool:
    """Return whether a document has a key that only workflows and projects have."""
    if not isinstance(root, Mapping):
        return False
    keys = _WORKFLOW_KEYS.intersection(root)
    # Records of other systems have a field of this name: `"workflow": "new"`.
    if keys == {"workflow"} and isinstance(root["workflow"], str):
        return False
    return bool(keys) and not (keys == {"workflows"} and _holds_triggers(root["workflows"]))


def _holds_triggers(workflows: Any) -> bool:
    """Return whether this is a file of triggers for the workflows of the project beside it."""
    if not isinstance(workflows, Mapping) or not workflows:
        return False
    return all(
        isinstance(triggers, Mapping)
        and bool(triggers)
        and all(isinstance(each, Mapping) and "type" in each for each in triggers.values())
        for triggers in workflows.values()
    )


def checkout_folder(path: Path) -> Path | None:
    """Return the folder of the checkout that a path names: itself, or its openfn.yaml."""
    if is_dir(path):
        return path
    # The configuration of other tools may have this name too: a project in it is read as one.
    is_configuration = path.name in _CONFIGURATIONS and is_file(path)
    return path.parent if is_configuration and not is_workflow(read_document(path).root) else None


def is_configured(folder: Path) -> bool:
    """Return whether a folder has the configuration that current tools of OpenFn write."""
    return any((folder / name).is_file() for name in _CONFIGURATIONS)


def is_checkout(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (*_CONFIGURATIONS, *_PROJECTS))


def open_checkout(folder: Path, *, located: bool = False) -> list[tuple[str, Document]]:
    """Read the documents of a checkout, each with the name of its folder or file.

    This is one project, or many single workflows. Raises :class:`LoadError` if there are none.
    """
    documents = list(_workflow_documents(folder, located=located))
    if not documents:
        expected = f"expected {_PROJECTS[0]}, or {_CONFIGURATIONS[0]} with workflows/NAME/NAME.yaml"
        # A configuration alone is no workflow.
        files = "" if is_configured(folder) else list_files(folder, SUFFIXES)
        remedy = f"; name one of its files: {files}" if files else ""
        raise LoadError(f"this folder has no workflows ({expected}){remedy}", file=str(folder))
    return documents


def _workflow_documents(folder: Path, *, located: bool) -> Iterator[tuple[str, Document]]:
    parent = _workflows_folder(folder)
    singles = [
        (file.parent.name, document)
        for file in sorted(parent.glob("*/*"))
        if file.suffix in SUFFIXES
        and is_workflow((document := read_document(file, located=located)).root)
    ]
    if singles:
        yield from singles
        return
    for name in _PROJECTS:
        if (folder / name).is_file():
            yield name, read_document(folder / name, located=located)
            return


def _workflows_folder(folder: Path) -> Path:
    """Return the folder of the workflows, which openfn.yaml can name."""
    for name in _CONFIGURATIONS:
        if (folder / name).is_file():
            return folder / _configured_name(read_document(folder / name).root)
    return folder / "workflows"


def _configured_name(root: Any) -> str:
    for path in (("workspace", "dirs", "workflows"), ("dirs", "workflows"), ("workflowRoot",)):
        value = root
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        # A file of somebody's checkout must not lead out of its folder.
        if isinstance(value, str) and value and _is_inside(value):
            return value
    return "workflows"


def _is_inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts
