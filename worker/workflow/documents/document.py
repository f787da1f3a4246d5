"""Reading of YAML and JSON files as plain data, with the position of every value."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from msgspec import Struct, field

from worker.errors import LoadError, reason_of
from worker.workflow.documents import json_reader
from worker.workflow.documents.data import KeyPath, LineColumn, format_path
from worker.workflow.documents.near_files import suggest_file

FILE_LIMIT = 20 * 1024 * 1024
# Set once for a command, and not an argument: files refer to files, and each is read elsewhere.
_file_limit: ContextVar[int] = ContextVar("file_limit", default=FILE_LIMIT)


def set_file_limit(limit_bytes: int) -> None:
    """Set the largest size of a file that this thread reads from now on."""
    _file_limit.set(limit_bytes)


def _no_position(keys: KeyPath) -> LineColumn:
    return 0, 0


class Document(Struct, frozen=True, kw_only=True):
    """Content of a file.

    ``locate`` returns (line, column), from 1, of the value under a path of keys and indices, or of
    the nearest value around it; (0, 0) without a text. ``located`` is true if positions are cheap
    or were requested. ``folder`` contains the files that the document may refer to, and
    ``file_texts`` those that were read.
    """

    file: str
    root: Any
    locate: Callable[[KeyPath], LineColumn] = _no_position
    located: bool = False
    folder: Path | None = None
    file_texts: dict[Path, str] = field(default_factory=dict)

    def fail(self, keys: KeyPath, message: str) -> NoReturn:
        """Raise a :class:`LoadError` with the position of a value."""
        line, column = self.locate(keys)
        raise LoadError(
            message, file=self.file, path=format_path(keys), line=line, column=column
        ) from None


def read_document(file: Path, *, located: bool = False) -> Document:
    """Read a YAML or JSON file. Raises :class:`LoadError` if it is neither.

    ``located`` requests positions also for the valid values of JSON; errors always have theirs.
    """
    text = read_text(file)
    if file.suffix == ".json" or text.lstrip()[:1] in ("{", "["):
        # Tried first, as JSON is read much faster; YAML, too, can begin with a brace.
        try:
            return _json_document(text, file, located)
        except LoadError:
            if file.suffix == ".json":
                raise
    return _yaml_document(text, file)


def _json_document(text: str, file: Path, located: bool) -> Document:
    root = parse_json(text, str(file))
    positions = json_reader.JsonPositions(text)
    return Document(
        file=str(file), root=root, locate=positions, located=located, folder=_folder(file)
    )


def _yaml_document(text: str, file: Path) -> Document:
    root, positions = parse_yaml(text, str(file))
    return Document(file=str(file), root=root, locate=positions, located=True, folder=_folder(file))


def _folder(file: Path) -> Path:
    """Return the folder whose files a workflow may refer to: the current one for a pipe."""
    is_device = file.parts[:2] in (("/", "dev"), ("/", "proc"))
    return Path() if is_device or not file.is_file() else file.parent


def parse_json(text: str, file: str) -> Any:
    """Parse JSON to plain data. Raises :class:`LoadError`."""
    return json_reader.parse(text, file)


def parse_yaml(text: str, file: str) -> tuple[Any, Callable[[KeyPath], LineColumn]]:
    """Parse YAML to plain data and a function that locates paths. Raises :class:`LoadError`."""
    # The YAML parser takes 20 ms to import, which JSON files need not pay.
    from worker.workflow.documents import yaml_reader

    return yaml_reader.parse(text, file)


def read_text(file: Path, limit_bytes: int | None = None) -> str:
    """Read a text of at most ``limit_bytes`` from a file or a pipe; None is the limit of files.

    Raises :class:`LoadError` with the reason.
    """
    limit_bytes = _file_limit.get() if limit_bytes is None else limit_bytes
    try:
        size = file.stat().st_size
        if file.is_dir():
            raise LoadError("expected a file, found a folder", file=str(file))
        if size > limit_bytes:
            _fail_size(file, f"{size / 2**20:.1f} MB", limit_bytes)
        # A pipe, a device or a growing file is larger than its size: the limit holds here too.
        with file.open("rb") as stream:
            content = stream.read(limit_bytes + 1)
    except FileNotFoundError:
        raise LoadError(f"there is no such file{suggest_file(file)}", file=str(file)) from None
    except (OSError, ValueError) as error:
        raise LoadError(f"cannot be read: {reason_of(error)}", file=str(file)) from None
    if len(content) > limit_bytes:
        _fail_size(file, "larger than its size", limit_bytes)
    return _decode(content, str(file))


def _fail_size(file: Path, size: str, limit_bytes: int) -> NoReturn:
    message = f"the file is {size}, over the limit of {limit_bytes / 2**20:.0f} MB"
    raise LoadError(message, file=str(file))


def _decode(content: bytes, file: str) -> str:
    try:
        # Editors on Windows begin a file with a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        message = f"not UTF-8 text: the byte 0x{content[error.start]:02x}; save the file as UTF-8"
        raise LoadError(message, file=file, line=line, column=column) from None
