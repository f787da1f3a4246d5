"""Plain data: what a document may hold, within which bounds, and how a place in it is named."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from worker.errors import LoadError

NESTING_LIMIT = 200
NODE_LIMIT = 2_000_000
_SHOWN = 60
_LONG_PATH = 20

KeyPath = tuple[str | int, ...]
LineColumn = tuple[int, int]


def format_path(keys: KeyPath) -> str:
    """``("steps", 0, "next")`` as ``steps[0].next``; of a very long one, its ends."""
    if len(keys) > _LONG_PATH:
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
    """A text of the author's, short enough for a message."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about a word that is not known; empty where nothing comes near."""
    near = difflib.get_close_matches(word, known, n=1) if len(word) <= _SHOWN else []
    return f"; did you mean '{near[0]}'?" if near else ""


def describe(value: object) -> str:
    """What a value is, in the words of a file's author."""
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


class _Trail:
    """The way to a container. Linked, so that a path costs nothing until a message needs it."""

    __slots__ = ("depth", "key", "parent")

    def __init__(self, parent: _Trail | None = None, key: str | int = "") -> None:
        self.parent, self.key = parent, key
        self.depth: int = parent.depth + 1 if parent else 1

    def fail(self, file: str, message: str) -> NoReturn:
        keys: list[str | int] = []
        trail: _Trail | None = self
        while trail and trail.parent:  # the root has no key
            keys.append(trail.key)
            trail = trail.parent
        raise LoadError(message, file=file, path=format_path(tuple(reversed(keys))))


def to_plain_data(source: Mapping[str, Any], file: str) -> Any:
    """A copy of a caller's dict that holds only what JSON can say, each part its own.

    Raises :class:`LoadError` for other types, keys that are not text, numbers out of range,
    nesting over NESTING_LIMIT (so also for a dict that contains itself) and more than NODE_LIMIT
    values, counted as if what is shared were written out.
    """
    root = _opened(source, _Trail(), file)
    todo = [(root, _Trail())]
    count = 0
    while todo:
        copy, trail = todo.pop()
        count += len(copy)
        if count > NODE_LIMIT:
            trail.fail(file, f"more than {NODE_LIMIT:,} values")
        if trail.depth > NESTING_LIMIT:
            raise LoadError(f"nested more than {NESTING_LIMIT} levels deep", file=file)
        for key, value in copy.items() if isinstance(copy, dict) else enumerate(copy):
            if isinstance(value, Mapping | list | tuple):
                inner = _Trail(trail, key)
                copy[key] = opened = _opened(value, inner, file)  # type: ignore[index]
                todo.append((opened, inner))
            else:
                copy[key] = _scalar(value, trail, key, file)  # type: ignore[index]
    return root


def _opened(
    value: Mapping[Any, Any] | list[Any] | tuple[Any, ...], trail: _Trail, file: str
) -> list[Any] | dict[str, Any]:
    if not isinstance(value, Mapping):
        return list(value)
    for key in value:
        if not isinstance(key, str):
            trail.fail(file, f"expected keys that are text, found {describe(key)}")
    return dict(value)


def _scalar(value: Any, trail: _Trail, key: str | int, file: str) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int() if value.bit_length() <= 1024:
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
        case int() | float():
            _Trail(trail, key).fail(file, "the number is out of range")
        case _:
            _Trail(trail, key).fail(file, f"expected data as in JSON, found {describe(value)}")
