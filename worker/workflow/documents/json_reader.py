"""Strict JSON parser with positions: rejects what Python's own parser accepts beyond JSON."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NoReturn

from worker.errors import LoadError
from worker.util.nesting import NESTING_LIMIT, VALUE_LIMIT, has_more_values, value_nests_deeper
from worker.workflow.documents.data import KeyPath, LineColumn, shorten

_SPACE = re.compile(r"[ \t\n\r]*")


def parse(text: str, file: str) -> Any:
    """Parse JSON to plain data.

    Raises :class:`LoadError` if it is not JSON, for a key that occurs twice in an object, for
    numbers out of range, and for nesting over NESTING_LIMIT.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Of two steps under one key, Python's parser would silently drop the first.
        unique_pairs = dict(pairs)
        if len(unique_pairs) < len(pairs):
            key = _first_duplicate([key for key, _ in pairs])
            raise LoadError(f"the key {shorten(key)!r} stands twice in one object", file=file)
        return unique_pairs

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else reject(text)

    def reject(text: str) -> NoReturn:
        raise LoadError(f"not JSON: the number {shorten(text)} is out of range", file=file)

    # Before the parser makes objects of them: 15 MB of empty ones took 900 MB.
    if has_more_values(text):
        raise LoadError(f"more than {VALUE_LIMIT:,} values", file=file)
    try:
        value = json.loads(
            text, object_pairs_hook=unique, parse_float=number, parse_constant=reject
        )
    except json.JSONDecodeError as error:
        message = f"not JSON: {error.msg}"
        raise LoadError(message, file=file, line=error.lineno, column=error.colno) from None
    except ValueError:  # an integer of more digits than Python converts
        raise LoadError("not JSON: a number is out of range", file=file) from None
    except RecursionError:
        raise LoadError("nested too deeply", file=file) from None
    if value_nests_deeper(value):
        raise LoadError(f"nested more than {NESTING_LIMIT} levels deep", file=file)
    return value


def _first_duplicate(keys: list[str]) -> str:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    raise AssertionError("no key stands twice")


class JsonPositions:
    """Lines and columns of the values in a text that :func:`parse` accepted."""

    def __init__(self, text: str) -> None:
        self._text = text
        # Computed on demand, all entries of a container at once: a run needs no positions.
        self._entries: dict[int, dict[str | int, int]] = {}

    def __call__(self, keys: KeyPath) -> LineColumn:
        """Locate the value under ``keys``, or the nearest value around it."""
        position = _after_space(self._text, 0)
        for key in keys:
            if position not in self._entries:
                self._entries[position] = dict(_entries(self._text, position))
            child = self._entries[position].get(key)
            if child is None:
                break
            position = child
        return self._line_column(position)

    def _line_column(self, position: int) -> LineColumn:
        line = bisect_right(self._line_starts, position)
        return line, position - self._line_starts[line - 1] + 1

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self._text))]


def _entries(text: str, position: int) -> Iterator[tuple[str | int, int]]:
    """Yield the keys or indices of the container at a position, and where each value starts."""
    container, index = text[position], 0
    if container not in "[{":
        return
    # The text is known to be valid, so every value can be skipped without a check.
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
    match = _SPACE.match(text, position)
    assert match is not None, "the pattern matches nothing too"
    return match.end()
