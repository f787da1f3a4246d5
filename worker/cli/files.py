"""States and credentials that commands read and write."""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.errors import LoadError, UsageError, cannot_write
from worker.sinks.terminal_text import printable
from worker.util.json import dump_indented
from worker.util.path_checks import exists, is_file
from worker.util.whole_files import write_whole
from worker.workflow.documents.data import describe
from worker.workflow.documents.document import parse_json, read_document, read_text
from worker.workflow.model import Workflow

INPUT_LIMIT_BYTES = 100 * 1024 * 1024


def read_input(source: str | None, json_text: str | None = None) -> dict[str, Any]:
    """Read the input state from a file, from stdin (``-``), or from the text of ``--input-json``.

    Without any of them it is empty.
    """
    if source is not None and json_text is not None:
        raise UsageError("--input and --input-json both give the input: leave one out")
    if json_text is not None:
        name, text = "--input-json", json_text
    elif source is None:
        _note_unread_stdin()
        return {}
    elif source == "-":
        name, text = "<stdin>", sys.stdin.read(INPUT_LIMIT_BYTES + 1)
        if len(text) > INPUT_LIMIT_BYTES:
            raise UsageError(f"the input is over the limit of {INPUT_LIMIT_BYTES // 2**20} MB")
    else:
        name, text = source, _read_file(source)
    state = _parse(text, name)
    if not isinstance(state, dict):
        expected = 'a JSON object, such as {"data": {}}'
        raise UsageError(f"{name}: expected {expected}, found {describe(state)}")
    return state


def _note_unread_stdin() -> None:
    """Print a hint where something is piped into a command that does not read it."""
    # Not read without being asked: in a loop of a shell, stdin belongs to the loop.
    if has_piped_data(0):
        hint = "note: nothing reads what is piped to stdin (--input - takes it as the input)"
        print(hint, file=sys.stderr)


def has_piped_data(descriptor: int) -> bool:
    """Return True for a pipe with data; in CI, stdin is often a pipe that is empty or closed."""
    try:
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        return is_pipe and any(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
    except OSError:
        return False


def _read_file(source: str) -> str:
    try:
        return read_text(Path(source), INPUT_LIMIT_BYTES)
    except LoadError as error:
        if exists(source):
            raise
        raise UsageError(f"{error}{_misread_option(source)}") from None


def _misread_option(source: str) -> str:
    """Return what was meant, perhaps, by the name of an absent file."""
    if source.lstrip().startswith(("{", "[")):
        return " (JSON itself is for --input-json)"
    # OpenFn's -i has no value, and is written together with others: -ia http.
    if source.startswith("-") or source == "a":
        return " (-i FILE is the input; --autoinstall installs adaptors)"
    return ""


def _parse(text: str, name: str) -> Any:
    try:
        return parse_json(text, name)
    except LoadError as error:
        if name == "--input-json" and is_file(text):
            raise UsageError(f"{error} (a file is for --input)") from None
        raise


def read_credentials(file: Path | None) -> Mapping[str, Mapping[str, Any]]:
    """Read credentials by the names that steps use; without a file there are none."""
    if file is None:
        return {}
    from worker.sandbox.confinement.process import keep_memory_private

    keep_memory_private()
    document = read_document(file)
    if not isinstance(document.root, dict):
        document.fail((), f"expected the names of credentials, found {_kind(document.root)}")
    for name, content in document.root.items():
        if not isinstance(content, dict):
            document.fail((name,), f"expected the fields of a credential, found {_kind(content)}")
    return document.root


def _kind(value: object) -> str:
    # Never the value itself: it can be a password under a wrong indentation.
    return "nothing" if value is None else "a list" if isinstance(value, list) else "a single value"


def print_warnings(workflow: Workflow) -> None:
    """Print on stderr what is suspicious in a workflow's file, with its place."""
    for warning in workflow.warnings:
        place = f":{warning.line}:{warning.column}" if warning.line else ""
        path = f"{warning.path}: " if warning.path else ""
        text = f"{workflow.file}{place}: {path}{warning.message}"
        print(f"warning: {printable(text)}", file=sys.stderr)


def write_state(target: str, state: Mapping[str, Any] | None) -> None:
    """Write a state as JSON to a file or (``-``) to stdout; ``null`` for None."""
    text = dump_indented(state)
    if target == "-":
        sys.stdout.write(text)
        return
    # A state holds data of patients.
    write_file(Path(target), text.encode(), mode=0o600)


def write_file(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file whole, with its folder, or raise WorkerError and leave what was there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content, mode)
    except OSError as error:
        raise cannot_write(path, error) from error
