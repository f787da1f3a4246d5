"""A project's files as a request to deploy it: workflows, and triggers of ``triggers.yaml``.

A file of triggers adds to workflow files that others own:

    workflows:
      Referral:
        intake: {type: mqtt, topic: clinic/+/referral}

A trigger with the name of one in the workflow file takes its place, and starts where that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from worker.errors import LoadError
from worker.fleet.messaging.messages import well_formed
from worker.fleet.messaging.trigger_messages import Deploy, Trigger, WorkflowVersion
from worker.util.json import dumps
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import KeyPath, format_path, shorten
from worker.workflow.documents.document import read_document
from worker.workflow.documents.mismatch import locate_mismatch
from worker.workflow.load import load_all
from worker.workflow.model import Step, StepKind, Workflow
from worker.workflow.save import to_execution_plan

TRIGGERS_FILE = "triggers.yaml"
_NAMES = {
    "cron_expression": "expression",
    "cron_cursor_job_id": "cursor_job",
    "cron_cursor_job": "cursor_job",
    "custom_path": "path",
    "webhook_reply": "reply",
}
"""Keys of OpenFn that have another name in a definition."""
_OPENFN_KEYS = {name: key for key, name in reversed(_NAMES.items())}
_TYPES: dict[str, type[msgspec.Struct]] = {
    str(kind.__struct_config__.tag): kind for kind in Trigger.__args__
}
_KEYS_OF = {name: frozenset(kind.__struct_fields__) for name, kind in _TYPES.items()}


def read_project(path: Path, *, project: str = "default", triggers: Path | None = None) -> Deploy:
    """Read a project, and the triggers of a file or of ``triggers.yaml`` beside it.

    Raises :class:`LoadError` with the place of what cannot be deployed.
    """
    workflows = load_all(path)
    file = triggers or _beside(path)
    additions = {} if file is None else _read_additions(file, workflows)
    return Deploy(
        project=project,
        workflows=tuple(
            WorkflowVersion(
                plan=msgspec.Raw(well_formed(dumps(to_execution_plan(workflow))).encode()),
                triggers=tuple(_triggers(workflow, additions.get(workflow.name, {}))),
            )
            for workflow in workflows
        ),
    )


def read_triggers(path: Path, workflow: Workflow) -> tuple[Trigger, ...]:
    """Read the triggers of one workflow of a project, as :func:`read_project` does.

    ``path`` is the workflow's file, or that of its project.
    """
    file = _beside(path)
    additions = {} if file is None else _read_additions(file, load_all(path))
    return tuple(_triggers(workflow, additions.get(workflow.name, {})))


def _beside(path: Path) -> Path | None:
    file = (path if path.is_dir() else path.parent) / TRIGGERS_FILE
    return file if file.is_file() and file != path else None


def _read_additions(file: Path, workflows: list[Workflow]) -> dict[str, dict[str, Cursor]]:
    """Read a file of triggers: cursors by the names of the workflow and of the trigger."""
    document = read_document(file, located=True)
    node = Cursor(document, document.root)
    additions: dict[str, dict[str, Cursor]] = {}
    for key, value in node.items():
        # Else all triggers under a misspelt key would be left out without a word.
        if key != "workflows":
            value.fail(f"unknown key '{shorten(key)}' (expected workflows)")
    for name, triggers in node.mapping().at("workflows").items():
        matching = [each for each in workflows if name in (each.name, each.id)]
        if len(matching) != 1:
            names = ", ".join(f"'{each.name}'" for each in workflows)
            triggers.fail(f"the project has no workflow '{name}' (there are: {names})")
        additions[matching[0].name] = dict(triggers.items())
    return additions


def _triggers(workflow: Workflow, additions: Mapping[str, Cursor]) -> Iterator[Trigger]:
    own = [step for step in workflow.steps if step.kind is StepKind.TRIGGER and step.trigger_type]
    for step in own:
        if step.id in additions:
            continue
        if step.trigger_type == "kafka":
            if not step.trigger.get("enabled", True):
                continue
            _fail_kafka(workflow, step)
        fields = {"type": step.trigger_type, "cron_expression": step.cron or None, **step.trigger}
        yield _convert(workflow, step.id, step.id, fields, _fail_in(workflow, step.id))
    starts = {step.id for step in own}
    default = workflow.start or workflow.steps[0].id
    for name, node in additions.items():
        start = name if name in starts else default
        yield _convert(workflow, name, start, node.data(), _fail_at(node))


_Fail = Callable[[KeyPath, str], NoReturn]
"""Raises :class:`LoadError` for the value at a path in the definition of a trigger."""


def _fail_at(node: Cursor) -> _Fail:
    return lambda path, message: node.document.fail((*node.path, *path), message)


def _fail_in(workflow: Workflow, name: str) -> _Fail:
    def fail(path: KeyPath, message: str) -> NoReturn:
        where = f"trigger '{name}'" + (f": {format_path(path)}" if path else "")
        raise LoadError(f"{workflow.file}: {where}: {message}")

    return fail


def _fail_kafka(workflow: Workflow, step: Step) -> None:
    raise LoadError(
        f"trigger '{step.id}' of '{workflow.name}' reads from Kafka, which a fleet does not: "
        f"let a bridge publish the records on an MQTT topic, and name it in {TRIGGERS_FILE}:\n"
        f"workflows:\n  {workflow.name}:\n    {step.id}: "
        "{type: mqtt, topic: TOPIC}\n"
        "(or disable the trigger: enabled: false)",
        file=workflow.file,
    )


def _convert(
    workflow: Workflow, name: str, start: str, fields: Mapping[str, Any], fail: _Fail
) -> Trigger:
    kind = fields.get("type")
    if kind is None:
        fail((), f"the key 'type' is missing (expected {', '.join(_KEYS_OF)})")
    if not isinstance(kind, str) or kind not in _KEYS_OF:
        fail(("type",), f"unknown type {shorten(repr(kind))} (expected {', '.join(_KEYS_OF)})")
    written = _written_names(fields, fail)
    named = {name: fields[key] for name, key in written.items()}
    if kind == "webhook":
        named = _webhook(workflow, name, named)
    if isinstance(idempotency := named.get("idempotency"), str):
        named["idempotency"] = _idempotency(idempotency)
    if unknown := sorted(named.keys() - _KEYS_OF[kind] - {"type"}):
        known = ", ".join(sorted(_KEYS_OF[kind] - {"name", "start"}))
        key = written.get(unknown[0], unknown[0])
        fail((key,), f"unknown key '{shorten(key)}' of type {kind} (expected {known})")
    try:
        trigger: Trigger = msgspec.convert({"name": name, "start": start, **named}, Trigger)
    except msgspec.ValidationError as error:
        path, message = locate_mismatch(error, _TYPES[kind])
        first = str(path[0]) if path else ""
        key = written.get(first) or _OPENFN_KEYS.get(first, first)
        fail((key, *path[1:]) if path else (), message)
    return trigger


def _written_names(fields: Mapping[str, Any], fail: _Fail) -> dict[str, str]:
    """Return the keys that have a value, by their names in a definition."""
    written: dict[str, str] = {}
    for key, value in fields.items():
        name = _NAMES.get(key, key)
        if value is None:
            continue
        if name in written:
            fail((key,), f"'{key}' and '{written[name]}' are two names of one key: keep one")
        written[name] = key
    return written


def _webhook(workflow: Workflow, name: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a webhook, with OpenFn's codes and a path if it has none."""
    codes = fields.pop("webhook_response_config", {})
    if isinstance(codes, Mapping):
        fields |= {key: codes[key] for key in ("success_code", "error_code") if codes.get(key)}
    path = fields.get("path") or f"{_slug(workflow.name)}/{_slug(name)}"
    auth = fields.get("auth", ())
    return {**fields, "path": path, "auth": [auth] if isinstance(auth, str) else auth}


def _slug(text: str) -> str:
    slug = "".join(char if char.isascii() and char.isalnum() else "-" for char in text.lower())
    return slug.strip("-") or "webhook"


def _idempotency(text: str) -> dict[str, Any]:
    """Read ``$.id``, ``content`` or the name of a property."""
    if text == "content":
        return {"content": True}
    return {"json_path": text} if text.startswith("$") else {"property": text}
