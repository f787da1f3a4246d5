"""The workflows that a control plane knows, so that an order can name one."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from worker.errors import LoadError, UsageError
from worker.fleet.messaging.messages import well_formed
from worker.util.json import dumps
from worker.workflow.load import load, workflow_names
from worker.workflow.model import Workflow
from worker.workflow.save import to_execution_plan

CACHED_BYTES = 64 * 1024
"""Larger plans are read each time: who sends them does not get to fill the memory."""
_FILES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWorkflow:
    """A workflow that can be run: its name, its execution plan as JSON, and an id of that."""

    name: str
    plan_id: str
    plan: str


@dataclass(slots=True)
class WorkflowRegistry:
    """Workflows by their names; ``problems`` says which files could not be read."""

    workflows: dict[str, RegisteredWorkflow] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, workflow: Workflow, *names: str) -> None:
        known = known_of(workflow)
        for name in {known.name, *names} - {""}:
            self.workflows.setdefault(name, known)


def known_of(workflow: Workflow) -> RegisteredWorkflow:
    if "\0" in workflow.name:
        raise LoadError("the workflow's name has a NUL in it")
    text = well_formed(dumps(to_execution_plan(workflow)))
    id = hashlib.sha256(text.encode()).hexdigest()[:32]
    return RegisteredWorkflow(name=(workflow.name or "unnamed")[:200], plan_id=id, plan=text)


def read_plan(plan: bytes) -> RegisteredWorkflow:
    """A workflow that an order brought along. Raises :class:`LoadError` on what is none."""
    return (_cached if len(plan) <= CACHED_BYTES else _read_plan)(plan)


def _read_plan(plan: bytes) -> RegisteredWorkflow:
    try:
        found = msgspec.json.decode(plan)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise LoadError(str(error)) from error
    if not isinstance(found, dict):
        raise LoadError("expected an execution plan, as an object")
    return known_of(load(found))


_cached = functools.lru_cache(maxsize=256)(_read_plan)


def read_library(paths: Iterable[Path]) -> WorkflowRegistry:
    """The workflows of files, and of the files in folders. Raises :class:`UsageError` where a
    path does not exist; a file in a folder that is no workflow is only noted."""
    library = WorkflowRegistry()
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if file.suffix in _FILES and ".cases." not in file.name and ".input." not in file.name:
                _read(library, file)
    return library


def _read(library: WorkflowRegistry, file: Path) -> None:
    try:
        keys = workflow_names(file)
        for key in keys:
            library.add(load(file, workflow=key), key)
        if not keys:
            workflow = load(file)
            library.add(workflow, workflow.id, file.stem)
    except LoadError as error:
        library.problems.append(str(error))
