"""The workflows of a control plane, by the names that orders can use."""

from __future__ import annotations

import functools
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from worker.errors import LoadError, UsageError
from worker.fleet.messaging.messages import well_formed
from worker.util.json import dumps
from worker.workflow.checkout import is_configured, is_workflow
from worker.workflow.credential_names import split_configuration
from worker.workflow.documents.data import shorten
from worker.workflow.documents.document import read_document
from worker.workflow.documents.near_files import suggest_file
from worker.workflow.load import load, load_all
from worker.workflow.model import Workflow
from worker.workflow.save import to_execution_plan

MAX_CACHED_BYTES = 64 * 1024
MAX_CACHED_VERSIONS = 256
_FILES = (".yaml", ".yml", ".json")
DEFAULT_NAMES = ("workflow", "run", "unnamed")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWorkflow:
    """A workflow that can be run: its name, its plan as JSON, and the id of that plan.

    ``credentials`` are the names of those that its steps have. ``sealed``: the secrets of the plan
    are encrypted already, where they have to be.
    """

    name: str
    plan_id: str
    plan: str
    credentials: frozenset[str] = frozenset()
    sealed: bool = False


class VersionCache:
    """The deployed versions that orders used last. A version never changes."""

    def __init__(self) -> None:
        self._versions: OrderedDict[tuple[str, str, str], RegisteredWorkflow] = OrderedDict()

    def get(
        self, key: tuple[str, str, str], read: Callable[[], RegisteredWorkflow | None]
    ) -> RegisteredWorkflow | None:
        """Return the version with a project, a name and an id; ``read`` it where it is not here."""
        workflow = self._versions.get(key)
        if workflow is not None:
            self._versions.move_to_end(key)
        elif (workflow := read()) is not None:
            self._put(key, workflow)
        return workflow

    def _put(self, key: tuple[str, str, str], workflow: RegisteredWorkflow) -> None:
        if len(workflow.plan) <= MAX_CACHED_BYTES:
            self._versions[key] = workflow
            if len(self._versions) > MAX_CACHED_VERSIONS:
                self._versions.popitem(last=False)


@dataclass(slots=True)
class WorkflowRegistry:
    """Workflows by their names; ``problems`` lists the files that could not be read."""

    workflows: dict[str, RegisteredWorkflow] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _files: dict[str, str] = field(default_factory=dict)

    def add(self, workflow: Workflow, *names: str) -> None:
        """Add a workflow under its own name and others; another name that is taken stays so.

        Raises :class:`UsageError` if another workflow has the same name of its own: an order would
        run one of the two by chance.
        """
        registered = register(workflow)
        before = self.workflows.get(registered.name)
        if registered.name in self._files and before and before.plan_id != registered.plan_id:
            places = f"{self._files[registered.name]} and {workflow.file}"
            raise UsageError(
                f"two workflows are named '{shorten(registered.name)}': {places}; rename one of "
                "them, or name the files to read without the other one"
            )
        # Without a name of their own, all have the same one.
        if registered.name not in DEFAULT_NAMES:
            self._files[registered.name] = workflow.file
            self.workflows[registered.name] = registered
        for name in {registered.name, *names} - {""}:
            self.workflows.setdefault(name, registered)

    def own_name(self, name: str) -> str:
        """Return the name that runs of a workflow have, by any of its names; else ``name``."""
        workflow = self.workflows.get(name)
        return name if workflow is None else workflow.name

    def other_names(self) -> dict[str, list[str]]:
        """Return the other names of each workflow, such as its key in a project, by its own."""
        others: dict[str, list[str]] = {}
        for name, workflow in self.workflows.items():
            # Without a name of its own, a workflow is known by its others.
            is_named = self.workflows.get(workflow.name) is workflow
            names = others.setdefault(workflow.name if is_named else name, [])
            if is_named and name != workflow.name:
                names.append(name)
        return others

    def place_of(self, name: str) -> str:
        """Return the file of a workflow by any of its names; empty where there is none."""
        if name not in self.workflows:
            return ""
        return self._files.get(self.workflows[name].name, "") or "a file"


def register(workflow: Workflow) -> RegisteredWorkflow:
    # PostgreSQL has no text with a NUL in it.
    if "\0" in workflow.name:
        raise LoadError("the workflow's name contains a NUL character")
    plan = well_formed(dumps(to_execution_plan(workflow)))
    # The id is a hash of the plan, so that orders with the same plan share one row.
    plan_id = hashlib.sha256(plan.encode()).hexdigest()[:32]
    name = (workflow.name or "unnamed")[:200]
    names = (split_configuration(step.configuration)[0] for step in workflow.steps)
    credentials = frozenset(filter(None, names))
    return RegisteredWorkflow(name=name, plan_id=plan_id, plan=plan, credentials=credentials)


def read_plan(plan: bytes) -> RegisteredWorkflow:
    """Read the plan of an order. Raises :class:`LoadError` where it is not a workflow."""
    # Large plans are parsed each time, so that a client cannot fill the memory.
    return (_cached if len(plan) <= MAX_CACHED_BYTES else _read_plan)(plan)


def _read_plan(plan: bytes) -> RegisteredWorkflow:
    try:
        document = msgspec.json.decode(plan)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise LoadError(str(error)) from error
    if not isinstance(document, dict):
        raise LoadError("expected an execution plan, as an object")
    return register(load(document))


_cached = functools.lru_cache(maxsize=256)(_read_plan)


def read_workflows(paths: Iterable[Path]) -> WorkflowRegistry:
    """Read the workflows of files, and of the files in folders.

    A file that is not a workflow is added to ``problems``. Raises :class:`UsageError` where a path
    does not exist.
    """
    registry = WorkflowRegistry()
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder{suggest_file(path)}")
        if path.is_dir() and not is_configured(path):
            for file in sorted(path.iterdir()):
                if file.suffix in _FILES and ".cases." not in file.name:
                    _read_file(registry, file, others=True)
        else:
            _read_file(registry, path)
    return registry


def _read_file(registry: WorkflowRegistry, file: Path, *, others: bool = False) -> None:
    """Add the workflows of a file or a checkout; ``others`` skips a file of something else."""
    try:
        # The inputs and credentials beside workflows are no problem.
        if others and not is_workflow(read_document(file).root):
            return
        workflows = load_all(file)
        # The name of a file stands for one workflow.
        alone = len(workflows) == 1 or file.is_dir()
        for workflow in workflows:
            registry.add(workflow, workflow.id, Path(workflow.file).stem if alone else "")
    except LoadError as error:
        registry.problems.append(str(error))
