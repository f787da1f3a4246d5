"""A file as plain data, read safely, with the place of every value in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from worker.errors import LoadError
from worker.workflow.documents import json_reader as json_text
from worker.workflow.documents.data import KeyPath, LineColumn, format_path

FILE_LIMIT = 20 * 1024 * 1024


def _nowhere(keys: KeyPath) -> LineColumn:
    return 0, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file holds.

    ``locate`` gives (line, column), from 1, of the value under a path of keys and indices, or of
    the nearest around it; (0, 0) where there is no text. ``located`` says that this costs next to
    nothing, or was asked for. ``folder`` is where files beside it are looked for, and ``beside``
    keeps those that were read.
    """

    file: str
    root: Any
    locate: Callable[[KeyPath], LineColumn] = _nowhere
    located: bool = False
    folder: Path | None = None
    beside: dict[Path, str] = field(default_factory=dict)

    def fail(self, keys: KeyPath, message: str) -> NoReturn:
        """Raise a :class:`LoadError` that names the place."""
        line, column = self.locate(keys)
        raise LoadError(
            message, file=self.file, path=format_path(keys), line=line, column=column
        ) from None


def read_document(file: Path, *, located: bool = False) -> Document:
    """Read a YAML or JSON file. Raises :class:`LoadError` on anything that is not one.

    ``located`` asks for the places of what is good in JSON too; errors have theirs in any case.
    """
    text = read_text(file, FILE_LIMIT)
    if file.suffix == ".json" or text.lstrip()[:1] in ("{", "["):
        try:
            return _json_document(text, file, located)
        except LoadError:
            if file.suffix == ".json":
                raise
    return _yaml_document(text, file)


def _json_document(text: str, file: Path, located: bool) -> Document:
    root = parse_json(text, str(file))
    places = json_text.JsonPositions(text)
    return Document(file=str(file), root=root, locate=places, located=located, folder=file.parent)


def _yaml_document(text: str, file: Path) -> Document:
    root, places = parse_yaml(text, str(file))
    return Document(file=str(file), root=root, locate=places, located=True, folder=file.parent)


def parse_json(text: str, file: str) -> Any:
    """JSON as plain data. Raises :class:`LoadError`."""
    return json_text.parse(text, file)


def parse_yaml(text: str, file: str) -> tuple[Any, Callable[[KeyPath], LineColumn]]:
    """YAML as plain data, and what tells the place of a path. Raises :class:`LoadError`."""
    from worker.workflow.documents import (
        yaml_reader as yaml_text,  # its parser takes 20 ms to import: JSON need not pay
    )

    return yaml_text.parse(text, file)


def read_text(file: Path, limit: int) -> str:
    """A file as text, within ``limit`` bytes. Raises :class:`LoadError` with the reason."""
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise LoadError("not a file", file=str(file))
        if size > limit:
            _fail_size(file, f"{size / 2**20:.1f} MB", limit)
        with file.open("rb") as stream:
            content = stream.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LoadError(f"cannot be read: {reason}", file=str(file)) from None
    if len(content) > limit:
        _fail_size(file, "still growing", limit)
    return _decoded(content, str(file))


def _fail_size(file: Path, found: str, limit: int) -> NoReturn:
    message = f"the file is {found}, over the limit of {limit / 2**20:.0f} MB"
    raise LoadError(message, file=str(file))


def _decoded(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"not UTF-8 text: the byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise LoadError(message, file=file, line=line, column=column) from None
