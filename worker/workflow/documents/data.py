"""Plain data of documents: permitted types and sizes, paths, and formatting for messages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from worker.errors import LoadError
from worker.util.nesting import NESTING_LIMIT, VALUE_LIMIT

NODE_LIMIT = VALUE_LIMIT
_TEXT_LIMIT = 60
_PATH_LIMIT = 20

KeyPath = tuple[str | int, ...]
LineColumn = tuple[int, int]


def format_path(keys: KeyPath) -> str:
    """Format ``("steps", 0, "next")`` as ``steps[0].next``; of a very long path, only its ends."""
    if len(keys) > _PATH_LIMIT:
        return f"{format_path(keys[:8])} … {format_path(keys[-4:])}"
    text = ""
    for key in keys:
        if isinstance(key, int):
            text += f"[{key}]"
        elif re.fullmatch(r"[\w>-]{1,60}", key):
            text += f".{key}" if text else key
        else:
            text += f"[{json.dumps(shorten(key), ensure_ascii=not key.isprintable())}]"
    return text


def shorten(text: str) -> str:
    """Shorten a text of the author's for a message."""
    return text if len(text) <= _TEXT_LIMIT else f"{text[: _TEXT_LIMIT - 1]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a suggestion to append to a message about an unknown word; empty if none is close."""
    # Only an error needs it.
    import difflib

    # The comparison is quadratic in the word's length.
    near = difflib.get_close_matches(word, known, n=1) if len(word) <= _TEXT_LIMIT else []
    return f"; did you mean '{near[0]}'?" if near else ""


def describe(value: object) -> str:
    """Describe a value for a message, in terms of the file rather than of Python."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {shorten(value)!r}"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


# A linked list, as most paths are never needed: only an error builds one.
class _Path:
    """Path to a container."""

    __slots__ = ("depth", "key", "parent")

    def __init__(self, parent: _Path | None = None, key: str | int = "") -> None:
        self.parent, self.key = parent, key
        self.depth: int = parent.depth + 1 if parent else 1

    def fail(self, file: str, message: str) -> NoReturn:
        keys: list[str | int] = []
        node: _Path | None = self
        while node and node.parent:  # the root has no key
            keys.append(node.key)
            node = node.parent
        raise LoadError(message, file=file, path=format_path(tuple(reversed(keys))))


def to_plain_data(source: Mapping[str, Any], file: str) -> Any:
    """Copy a caller's dict, which may contain only JSON types.

    Raises :class:`LoadError` for other types, keys that are not text, numbers out of range,
    nesting over NESTING_LIMIT (so also for a dict that contains itself) and more than NODE_LIMIT
    values, where shared parts count each time.
    """
    # A stack instead of recursion: the caller's dict can be nested more deeply than Python's.
    root = _copy(source, _Path(), file)
    todo = [(root, _Path())]
    count = 0
    while todo:
        copy, path = todo.pop()
        count += len(copy)
        if count > NODE_LIMIT:
            path.fail(file, f"more than {NODE_LIMIT:,} values")
        if path.depth > NESTING_LIMIT:
            raise LoadError(f"nested more than {NESTING_LIMIT} levels deep", file=file)
        for key, value in copy.items() if isinstance(copy, dict) else enumerate(copy):
            if isinstance(value, Mapping | list | tuple):
                inner = _Path(path, key)
                copy[key] = child = _copy(value, inner, file)  # type: ignore[index]
                todo.append((child, inner))
            else:
                copy[key] = _scalar(value, path, key, file)  # type: ignore[index]
    return root


def _copy(
    value: Mapping[Any, Any] | list[Any] | tuple[Any, ...], path: _Path, file: str
) -> list[Any] | dict[str, Any]:
    if not isinstance(value, Mapping):
        return list(value)
    for key in value:
        if not isinstance(key, str):
            path.fail(file, f"expected keys that are text, found {describe(key)}")
    return dict(value)


def _scalar(value: Any, path: _Path, key: str | int, file: str) -> Any:
    match value:
        case None | bool():
            return value
        # Subclasses become plain: a StrEnum would not survive json or pickle as it is.
        case str():
            return str.__str__(value)
        # The range of a float, which is every number of JavaScript.
        case int() if value.bit_length() <= 1024:
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
        case int() | float():
            _Path(path, key).fail(file, "the number is out of range")
        case _:
            _Path(path, key).fail(file, f"expected data as in JSON, found {describe(value)}")
