"""States and credentials that commands read and write."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.errors import UsageError
from worker.workflow.documents.document import parse_json, read_document, read_text

INPUT_LIMIT_BYTES = 100 * 1024 * 1024


def read_input(source: str | None) -> dict[str, Any]:
    """Read the input state from a file or from stdin (``-``); without a source it is empty."""
    if source is None:
        return {}
    if source == "-":
        name, text = "<stdin>", sys.stdin.read(INPUT_LIMIT_BYTES + 1)
        if len(text) > INPUT_LIMIT_BYTES:
            raise UsageError(f"the input is over the limit of {INPUT_LIMIT_BYTES // 2**20} MB")
    else:
        name, text = source, read_text(Path(source), INPUT_LIMIT_BYTES)
    state = parse_json(text, name)
    if not isinstance(state, dict):
        raise UsageError(f'{name}: the input must be a JSON object, such as {{"data": {{}}}}')
    return state


def read_credentials(file: Path | None) -> Mapping[str, Mapping[str, Any]]:
    """Read credentials by the names that steps use; without a file there are none."""
    if file is None:
        return {}
    credentials = read_document(file).root
    if not isinstance(credentials, dict) or not all(
        isinstance(content, dict) for content in credentials.values()
    ):
        raise UsageError(f"{file}: expected a mapping of credential names to their content")
    return credentials


def write_state(target: str, state: Mapping[str, Any] | None) -> None:
    """Write a state as JSON to a file or (``-``) to stdout; ``null`` for None."""
    text = json.dumps(state, indent=2, ensure_ascii=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
        return
    path = Path(target)
    try:
        _write_whole(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def _write_whole(path: Path, text: str) -> None:
    # A run that writes no file need not import it.
    import tempfile

    # A file is complete or absent: a reader never gets half a state.
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as part:
        part.write(text)
    Path(part.name).replace(path)
