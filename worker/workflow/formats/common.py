"""Readers that the formats share: job bodies, credentials, conditions, options, languages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from worker.errors import LoadError
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe, did_you_mean, shorten
from worker.workflow.documents.document import Document, parse_json, read_text
from worker.workflow.formats.fleet_options import FLEET_OPTIONS, read_fleet_options
from worker.workflow.limit_ranges import FILE_OPTIONS, file_option_problem
from worker.workflow.model import Edge, EdgeKind, Language

SOURCE_FILES = (".js", ".mjs", ".cjs", ".py")
DATA_FILES = (".json",)
_BODY_FILE = re.compile(r"[^\n(){};=]{1,300}\.(js|mjs|cjs|py)")
_CONDITIONS = {
    "always": EdgeKind.ALWAYS,
    "never": EdgeKind.NEVER,
    "on_job_success": EdgeKind.SUCCESS,
    "on_job_failure": EdgeKind.FAILURE,
    "on_upstream_success": EdgeKind.SUCCESS,
    "on_upstream_fail": EdgeKind.FAILURE,
}
# Without kafka_configuration, which holds passwords.
TRIGGER_KEYS = (
    *("enabled", "timezone", "catch_up", "overlap", "cron_cursor_job_id", "cron_cursor_job"),
    *("topic", "qos", "format", "filter", "idempotency", "retained", "reply", "reply_topic"),
    *("custom_path", "auth", "webhook_reply", "webhook_response_config", "timeout_s", "max_mb"),
)
"""Keys of a trigger that a fleet uses, beside its type and its schedule."""
_LIMITS = {
    "timeout": "run_timeout_ms",
    "runTimeoutMs": "run_timeout_ms",
    "memoryLimitMb": "run_memory_limit_mb",
    "stateLimitMb": "state_limit_mb",
    "payloadLimitMb": "payload_limit_mb",
    "logPayloadLimitMb": "log_payload_limit_mb",
}
_OPTIONS = (
    *(*FILE_OPTIONS, *_LIMITS, *FLEET_OPTIONS),
    *("start", "end", "payload", "permissive_globals"),
    # Of OpenFn's tools; not all have a meaning here.
    *("stepTimeout", "sanitize", "output_dataclips", "job_log_level", "jobLogLevel"),
)


def read_body(node: Cursor) -> tuple[str, str]:
    """Read a job's source; return it with the file that contains it (empty if inline).

    It is written as text, as the path of a file in the workflow's folder, or as ``{path: ...}``,
    where a deploy state may have the text too, as ``content``.
    """
    if isinstance(node.value, Mapping):
        content = node.mapping("path", "content").at("content")
        if isinstance(content.value, str):
            return content.text(), node.at("path").name("")
        path = node.at("path")
        return read_adjacent_file(path, path.name(), SOURCE_FILES), path.name()
    text = node.text("")
    if _BODY_FILE.fullmatch(text.strip()):
        return read_adjacent_file(node, text.strip(), SOURCE_FILES), text.strip()
    return text, ""


def read_adjacent_file(node: Cursor, name: str, kinds: tuple[str, ...]) -> str:
    """Read a text file of one of these ``kinds`` in the workflow's folder, or below it."""
    quoted = repr(shorten(name))
    try:
        file = _find_adjacent(node.document, name, kinds)
    except _NoFileError as error:
        node.fail(str(error).format(quoted))
    try:
        # A file that thousands of steps refer to is read, and kept in memory, once.
        texts = node.document.file_texts
        return texts.get(file) or texts.setdefault(file, read_text(file))
    except LoadError as error:
        node.fail(f"the file {quoted}: {error.message}")


class _NoFileError(Exception):
    """Reason why a workflow cannot refer to a file, with ``{}`` for the file's name."""


def _find_adjacent(document: Document, name: str, kinds: tuple[str, ...]) -> Path:
    # Before it is looked for: an error must not reveal what else the folder contains.
    if not name.endswith(kinds):
        expected = ", ".join(kinds)
        raise _NoFileError(
            f"the file {{}} is of a kind that no workflow needs (expected {expected})"
        )
    if document.folder is None:
        raise _NoFileError("the file {} cannot be read, as this workflow did not come from a file")
    try:
        # Resolved: a symbolic link, too, must not lead out of the folder.
        root = document.folder.resolve()
        file = (root / name).resolve()
        if Path(name).is_absolute() or not file.is_relative_to(root):
            raise _NoFileError("the file {} lies outside of the workflow's folder")
        if not file.is_file():
            raise _NoFileError("there is no file {} beside the workflow")
        # A link can have another name than what it leads to.
        if not file.name.endswith(kinds):
            raise _NoFileError("the file {} is a link to a file of another kind")
    except (OSError, RuntimeError, ValueError):  # too long, a link to itself, a NUL
        raise _NoFileError("the file {} cannot be looked for") from None
    return file


def read_configuration(node: Cursor) -> Mapping[str, Any] | str | None:
    """Read a credential's content, or its name; a file that is not there counts as a name.

    Credentials are kept out of repositories: only a run of the step needs the file.
    """
    if isinstance(node.value, str) and node.value.endswith(".json"):
        try:
            _find_adjacent(node.document, node.value, DATA_FILES)
        except _NoFileError:
            return node.name()
    return read_data_or_file(node)


def read_credentials(node: Cursor) -> Mapping[str, Any]:
    """Read what a workflow merges under the configuration of all its steps."""
    if not isinstance(node.value, Mapping | None):
        node.warn("expected a mapping of credentials, so this is not used")
        return {}
    return node.data()


def read_data_or_file(node: Cursor) -> Mapping[str, Any] | str | None:
    """Read a mapping, a name, or the content of a .json file in the workflow's folder."""
    if not isinstance(node.value, str):
        return None if node.value is None else node.data()
    if not node.value.endswith(".json"):
        return node.name()
    text = read_adjacent_file(node, node.value, DATA_FILES)
    try:
        content = parse_json(text, shorten(node.value))
    except LoadError as error:
        node.fail(str(error))
    if not isinstance(content, dict):
        node.fail(f"expected {shorten(node.value)!r} to hold an object, found {describe(content)}")
    return content


def read_options(node: Cursor) -> dict[str, Any]:
    """Read a file's options: limits by OpenFn's names, each in its range, and others."""
    options: dict[str, Any] = {}
    if node.value is None:
        return options
    node.mapping(*_OPTIONS)
    node.at("permissive_globals").flag(default=False)
    if node.at("payload").value not in (None, "openfn", "real"):
        node.at("payload").fail("expected 'openfn' or 'real'")
    for key, option in node.items():
        limit = _LIMITS.get(key, key)
        if key in FLEET_OPTIONS:
            continue
        if limit not in FILE_OPTIONS:
            options[key] = option.value
        elif option.value is not None:
            if problem := file_option_problem(limit, option.value):
                option.fail(problem)
            options[limit] = option.value
    return {**options, **read_fleet_options(node)}


def read_trigger(node: Cursor) -> dict[str, Any]:
    """Read the keys of a trigger that a fleet uses; deploying checks their values."""
    return {key: value for key in TRIGGER_KEYS if (value := node.at(key).value) is not None}


def read_globals(node: Cursor) -> str:
    """Read the source of a workflow's global functions, or the file that holds it."""
    text = node.value
    if text is None:
        return ""
    if not isinstance(text, str):
        node.warn("expected the text of a JavaScript module, so this is not used")
        return ""
    if re.fullmatch(r"\s*\.{0,2}[\w./-]+\.m?js\s*", text):
        return read_adjacent_file(node, text.strip(), SOURCE_FILES)
    return text


def detect_language(source_file: str, adaptors: tuple[str, ...]) -> Language:
    """Detect Python by a file that ends in .py, or by the adaptor ``python``."""
    python = any(re.fullmatch(r"python(@.*)?", adaptor) for adaptor in adaptors)
    return Language.PYTHON if source_file.endswith(".py") or python else Language.JAVASCRIPT


def read_condition(node: Cursor) -> tuple[EdgeKind, str]:
    """Read a condition: a boolean, one of the known words, or a JavaScript expression."""
    match node.value:
        case True:
            return EdgeKind.ALWAYS, ""
        case None | False:  # in a plan, an edge without a condition is never taken
            return EdgeKind.NEVER, ""
        case str():
            word = node.text().strip()
            kind = _CONDITIONS.get(word, EdgeKind.EXPRESSION if word else EdgeKind.NEVER)
            if kind is not EdgeKind.EXPRESSION:
                return kind, ""
            # A name alone near one of the words is one: as JavaScript it crashes the run.
            if word.isidentifier() and (hint := did_you_mean(word, _CONDITIONS)):
                node.warn(f"'{shorten(word)}' is none of the words for conditions{hint}")
            return kind, word
        case _:
            node.fail(f"expected a condition, found {describe(node.value)}")


def deduplicate_edges(edges: Iterable[tuple[Edge, Cursor]]) -> tuple[Edge, ...]:
    """Return the edges of one step without duplicates, with a warning for each."""
    # OpenFn keeps edges in an object by target: the last one holds, in the position of the first.
    unique: dict[str, Edge] = {}
    for edge, node in edges:
        if edge.target in unique:
            node.warn(
                f"a second edge from '{shorten(edge.source)}' to '{shorten(edge.target)}'"
                " replaces the first"
            )
        unique[edge.target] = edge
    return tuple(unique.values())
