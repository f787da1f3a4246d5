"""Loading of workflows from files and dicts, in any of the formats that describe one.

These are project.yaml version 3 and 4.0 (a project, or one workflow), a deploy state, the CLI's
execution plan as JSON or YAML, bare ``{steps}``, the legacy ``{start, jobs}``, a Lightning run, a
project checkout (a folder), and one job alone (``job.js``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from worker.errors import LoadError
from worker.util.path_checks import exists
from worker.workflow.checkout import SUFFIXES, checkout_folder, is_checkout, open_checkout
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe, did_you_mean, shorten, to_plain_data
from worker.workflow.documents.document import Document, read_document, read_text
from worker.workflow.documents.near_files import list_files, suggest_file
from worker.workflow.formats import execution_plan, project_v3
from worker.workflow.formats.common import detect_language
from worker.workflow.model import Step, Workflow

Reader = Callable[[Cursor], Workflow]

EXPECTED = (
    "a project (workflows), a workflow (steps, or jobs and edges), an execution plan (workflow), "
    "or a Lightning run (jobs, triggers, edges)"
)
_JOB_SUFFIXES = (".js", ".mjs", ".cjs", ".py")
_PROJECT_KEYS = (
    *("id", "uuid", "name", "description", "workflows", "credentials", "collections", "globals"),
    *("schema_version", "version", "cli", "openfn", "options", "allow_support_access", "channels"),
    *("concurrency", "color", "env", "parent_id", "history_retention_period", "sandbox"),
    *("dataclip_retention_period", "requires_mfa", "retention_policy", "scheduled_deletion"),
    *("inserted_at", "updated_at", "project_credentials", "project_users"),
)


Source = str | Path | Mapping[str, Any]


def load(
    source: Source,
    *,
    workflow: str | None = None,
    adaptors: str | Sequence[str] = (),
    located: bool = False,
) -> Workflow:
    """Load a workflow from a path, or from a dict in any of the formats.

    ``workflow`` selects one of a project's workflows by its key, id or name; a path that does not
    exist and does not end in ``.yaml``, ``.yml`` or ``.json`` is such a name in the project of the
    current folder. ``adaptors`` are those of a job alone, a path that ends in ``.js`` or ``.py``.
    With ``located``, steps and edges have their position also in a JSON file. Raises
    :class:`LoadError` with the file, the path inside it, the value found and the value expected.
    """
    if isinstance(adaptors, str):
        adaptors = (adaptors,)
    if isinstance(source, str | Path) and _is_job(source):
        return _load_job(Path(source), adaptors)
    if adaptors:
        raise LoadError("adaptors can be chosen for a job alone (job.js); others name their own")
    if isinstance(source, str | Path):
        folder, workflow = _find_checkout(Path(source), workflow) if str(source) else (None, None)
        if folder is not None:
            return _load_from_checkout(folder, workflow, located=located)
    return _load_document(_document(source, located=located), workflow)


def load_all(
    source: Source, *, workflow: str | None = None, located: bool = False
) -> list[Workflow]:
    """Load all workflows of a project, or the one that is named; read each file once."""
    if workflow is not None or _is_job(source):
        return [load(source, workflow=workflow, located=located)]
    folder = None
    if isinstance(source, str | Path):
        folder, workflow = _find_checkout(Path(source), None)
    if workflow is not None:
        return [load(source, located=located)]
    documents = (
        [_document(source, located=located)]
        if folder is None
        else [document for _, document in open_checkout(folder, located=located)]
    )
    return [
        _load_document(document, name)
        for document in documents
        for name in (_project_names(document) or (None,))
    ]


def workflow_names(source: Source) -> tuple[str, ...]:
    """Return the names that select the workflows of a project; none if the file is no project."""
    folder = None if isinstance(source, Mapping) else checkout_folder(Path(source))
    if folder is None:
        return () if _is_job(source) else _project_names(_document(source))
    documents = open_checkout(folder)
    return tuple(
        name for key, document in documents for name in (_project_names(document) or (key,))
    )


def _project_names(document: Document) -> tuple[str, ...]:
    node = Cursor(document, document.root)
    return tuple(key for key, _ in _workflows(node)) if node.has("workflows") else ()


def _load_document(document: Document, name: str | None) -> Workflow:
    node = Cursor(document, document.root)
    loaded = _read(node, name)
    # Its run is a success that did nothing: a key such as `boddy` has taken the code away.
    if loaded.steps and not any(step.runs_code for step in loaded.steps):
        node.warn("no step has code, so a run executes none")
    return replace(loaded, file=document.file, warnings=tuple(node.warnings))


# --- a job alone ----------------------------------------------------------------------------------


def _is_job(source: object) -> bool:
    return isinstance(source, str | Path) and Path(source).suffix in _JOB_SUFFIXES


def _load_job(file: Path, adaptors: Sequence[str]) -> Workflow:
    names = tuple(adaptors)
    for name in names:
        if "=" in name:
            message = f"the adaptor '{shorten(name)}' is a folder's: expected NAME or NAME@VERSION"
            raise LoadError(message)
    step = Step(
        # As OpenFn's command names the only step, also in state.errors.
        id="job-1",
        generated_id=True,
        language=detect_language(file.name, names),
        adaptors=names,
        source=read_text(file),
        source_file=file.name,
        position=(1, 1),
    )
    return Workflow(name=file.stem, steps=(step,), file=str(file))


# --- a project checkout ---------------------------------------------------------------------------


def _find_checkout(path: Path, name: str | None) -> tuple[Path | None, str | None]:
    """Return the folder of the checkout that a path leads to, and the name of the workflow."""
    folder = checkout_folder(path)
    is_name = name is None and path.suffix not in SUFFIXES and not exists(path)
    if folder is None and is_name and is_checkout(Path()):
        return Path(), str(path)
    return folder, name


def _load_from_checkout(folder: Path, name: str | None, *, located: bool) -> Workflow:
    documents = open_checkout(folder, located=located)
    if len(documents) == 1:
        key, document = documents[0]
        # One workflow is known by the name of its folder too.
        return _load_document(document, None if name == key else name)
    matching = [
        (key, document) for key, document in documents if name in _checkout_names(key, document)
    ]
    if len(matching) == 1:
        return _load_document(matching[0][1], None)
    listed = ", ".join(f"'{shorten(key)}'" for key, _ in documents)
    if name is None:
        message = (
            f"the project has several workflows: pick one with --workflow or workflow= ({listed})"
        )
    elif matching:
        places = " and ".join(document.file for _, document in matching)
        message = f"several workflows are named '{shorten(name)}': {places}"
    else:
        hint = did_you_mean(name, [key for key, _ in documents])
        message = f"there is no file and no workflow '{shorten(name)}'{hint} (there are: {listed})"
    raise LoadError(message, file=str(folder))


def _checkout_names(key: str, document: Document) -> tuple[str, ...]:
    node = Cursor(document, document.root)
    inner = node.at("workflow") if node.has("workflow") else node
    return key, Path(document.file).stem, *_names(key, inner)


# --- one document ---------------------------------------------------------------------------------


def _document(source: object, *, located: bool = False) -> Document:
    match source:
        case Mapping():
            return Document(file="<dict>", root=to_plain_data(source, "<dict>"))
        case str() | Path():
            _check_path(source)
            return read_document(Path(source), located=located)
        case _:
            raise LoadError(f"expected a path or a mapping, found {describe(source)}")


def _check_path(source: str | Path) -> None:
    """Raise :class:`LoadError` for a text that is no path: a file's content, or a bare name."""
    path = Path(source)
    if not str(source):
        raise LoadError("expected a path or a mapping, found an empty text")
    if "\n" in str(source):
        raise LoadError("expected a path or a mapping, found a text of several lines: parse it")
    if exists(path) or path.suffix or path.parent != Path():
        return
    files = list_files(Path(), (".yaml", ".yml", ".json"))
    hint = suggest_file(path) or (f" (files here: {files})" if files else "")
    raise LoadError(f"there is no file and no workflow '{shorten(path.name)}'{hint}")


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
        workflows.fail(
            f"the project has several workflows: pick one with --workflow or workflow= ({listed})"
        )
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
    if node.has("cases"):
        node.fail("this is a case file: worker test runs it, worker run runs its workflow")
    if node.has("workflow"):
        return execution_plan.read_plan
    # A run that was exported has its recorded steps beside its jobs.
    if node.has("steps") and not _is_run(node):
        return execution_plan.read_workflow
    if node.has("jobs"):
        return _detect_jobs_reader(node)
    keys = ", ".join(f"'{shorten(key)}'" for key in list(node.value)[:8]) or "no keys"
    node.fail(f"expected {EXPECTED}, found {keys}")


def _detect_jobs_reader(node: Cursor) -> Reader:
    jobs = node.at("jobs")
    match jobs.value:
        case list():
            return project_v3.read_run if _is_run(node) else execution_plan.read_workflow
        case Mapping() | None:
            return project_v3.read_workflow
        case _:
            jobs.fail(f"expected a mapping of jobs, or a list, found {describe(jobs.value)}")


def _is_run(node: Cursor) -> bool:
    """Return whether a workflow with a list of jobs is a Lightning run, not a legacy workflow."""
    jobs = node.at("jobs").value
    if not isinstance(jobs, list):
        return False
    run_keys = ("edges", "triggers", "starting_node_id", "dataclip_id")
    # Both list their jobs, and only those of a run have a body.
    has_body = any(isinstance(job, Mapping) and "body" in job for job in jobs)
    return has_body or any(map(node.has, run_keys))
