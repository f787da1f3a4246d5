"""JSON as plain data. Python's reader takes more than JSON is; what it lets through stops here."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NoReturn

from worker.errors import LoadError
from worker.workflow.documents.data import NESTING_LIMIT, KeyPath, LineColumn, shorten

_SPACE = re.compile(r"[ \t\n\r]*")
_CONTAINERS = frozenset((dict, list))


def parse(text: str, file: str) -> Any:
    """JSON as plain data. Raises :class:`LoadError` for what is not JSON, for a key that stands
    twice, numbers out of range, and nesting over NESTING_LIMIT."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            key = _first_double([key for key, _ in pairs])
            raise LoadError(f"the key {shorten(key)!r} stands twice in one object", file=file)
        return found

    def number(written: str) -> float:
        found = float(written)
        return found if math.isfinite(found) else refuse(written)

    def refuse(written: str) -> NoReturn:
        raise LoadError(f"not JSON: the number {shorten(written)} is out of range", file=file)

    try:
        value = json.loads(
            text, object_pairs_hook=unique, parse_float=number, parse_constant=refuse
        )
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg}"
        raise LoadError(message, file=file, line=error.lineno, column=error.colno) from None
    except ValueError:
        raise LoadError("not JSON: a number is out of range", file=file) from None
    except RecursionError:
        raise LoadError("nested too deeply", file=file) from None
    _check_nesting(value, file)
    return value


def _first_double(keys: list[str]) -> str:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    raise AssertionError("no key stands twice")


def _check_nesting(value: Any, file: str) -> None:
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(NESTING_LIMIT):
        level = [
            child
            for one in level
            for child in (one.values() if type(one) is dict else one)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return
    raise LoadError(f"nested more than {NESTING_LIMIT} levels deep", file=file)


class JsonPositions:
    """The line and column of every value in a text that :func:`parse` has read.

    Found when asked for, each container's entries at once: a run asks for none.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[int, dict[str | int, int]] = {}

    def __call__(self, keys: KeyPath) -> LineColumn:
        """The place of the value under ``keys``, or of the nearest around it."""
        position = _after_space(self._text, 0)
        for key in keys:
            if position not in self._found:
                self._found[position] = dict(_entries(self._text, position))
            inside = self._found[position].get(key)
            if inside is None:
                break
            position = inside
        return self._mark(position)

    def _mark(self, position: int) -> LineColumn:
        line = bisect_right(self._lines, position)
        return line, position - self._lines[line - 1] + 1

    @cached_property
    def _lines(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer("\n", self._text))]


def _entries(text: str, position: int) -> Iterator[tuple[str | int, int]]:
    """The keys or indices of the container that starts here, and where each value starts."""
    container, index = text[position], 0
    if container not in "[{":
        return
    decoder = json.JSONDecoder()
    position = _after_space(text, position + 1)
    while text[position] not in "]}":
        key: str | int = index
        if container == "{":
            key, position = decoder.raw_decode(text, position)
            position = _after_space(text, _after_space(text, position) + 1)
        yield key, position
        _, position = decoder.raw_decode(text, position)
        position = _after_space(text, position)
        if text[position] == ",":
            position = _after_space(text, position + 1)
        index += 1


def _after_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()
