"""States embedded in a report: each once, and truncated where it is too large.

A truncated state contains texts that begin with the dataclip's ``cut`` marker.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from worker.util.json import dumps

# Python and browsers read such a depth without a stack overflow.
MAX_DEPTH: Final = 100
# Characters of all states together: a browser takes seconds to open a larger page.
MAX_TOTAL: Final = 16_000_000
LIMITS: Final = (256_000, 128_000, 64_000, 32_000, 16_000, 8_000, 4_000)
_TEXT: Final = 20_000
_KEY: Final = 300
_LEAST: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedDataclip:
    """State as JSON text. ``size`` is the original length; ``cut`` is empty for a whole state."""

    text: str
    size: int
    cut: str = ""


def choose_limit(sizes: Iterable[int]) -> int:
    """Choose the maximum length of a state, so that all states fit into MAX_TOTAL."""
    known = list(sizes)
    fitting = (limit for limit in LIMITS if sum(min(size, limit) for size in known) <= MAX_TOTAL)
    return next(fitting, LIMITS[-1])


def embed_dataclip(text: str, limit: int) -> EmbeddedDataclip:
    """Truncate a state to about ``limit`` characters and ``MAX_DEPTH`` levels."""
    deep = text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH
    if len(text) <= limit and not deep:
        return EmbeddedDataclip(text=text, size=len(text))
    # The marker contains a hash of the whole: no state can pretend to be truncated.
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    marker = f"cut-{digest[:16]}:"
    flat = _flattened(text, marker) if deep else text
    try:
        value = json.loads(flat)
    except ValueError:
        return EmbeddedDataclip(text=dumps(f"{marker}not JSON"), size=len(text), cut=marker)
    return EmbeddedDataclip(
        text=dumps(_Cutter(marker).cut(value, limit)), size=len(text), cut=marker
    )


# Strings are matched too, so that brackets inside of them are skipped. A regular expression works
# at any depth, where json.loads raises RecursionError.
BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')


def _depth(text: str) -> int:
    depth = most = 0
    for token in BRACKETS.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        most = max(most, depth)
    return most


def _flattened(text: str, marker: str) -> str:
    """Replace values that are nested too deeply by a text."""
    parts: list[str] = []
    depth = begun = 0
    for token in BRACKETS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == MAX_DEPTH:
                parts.append(text[begun : token.start()])
        elif token[0] in "]}":
            depth -= 1
            if depth == MAX_DEPTH - 1:
                parts.append(f'"{marker}nested more than {MAX_DEPTH} levels deep"')
                begun = token.end()
    return "".join([*parts, text[begun:]])


class _Cutter:
    """Truncates values to a budget of characters."""

    # A part gets at most half of the budget that is left, so that a long list does not hide the
    # values beside it.

    def __init__(self, marker: str) -> None:
        self._marker = marker

    def cut(self, value: Any, budget: int) -> Any:
        match value:
            case str():
                return self._text(value, budget)
            case list():
                return self._list(value, budget)
            case dict():
                return self._object(value, budget)
            case _:
                return value

    def _text(self, text: str, budget: int) -> str:
        parts = max(min(budget, _TEXT), _LEAST)
        if len(text) <= parts:
            return text
        return f"{self._marker}{text[:parts]}… ({len(text) - parts:,} more characters)"

    def _list(self, items: list[Any], budget: int) -> list[Any]:
        parts: list[Any] = []
        for number, item in enumerate(items):
            if budget < _LEAST:
                return [*parts, f"{self._marker}{len(items) - number:,} more"]
            parts.append(self._part(item, budget))
            budget -= len(dumps(parts[-1])) + 1  # the comma
        return parts

    def _object(self, items: dict[str, Any], budget: int) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for number, (key, item) in enumerate(items.items()):
            if budget < _LEAST:
                return {**parts, f"{self._marker}": f"{self._marker}{len(items) - number:,} more"}
            name = key if len(key) <= _KEY else f"{key[:_KEY]}… ({len(key):,} characters)"
            parts[name] = self._part(item, budget)
            budget -= len(dumps({name: parts[name]}))
        return parts

    def _part(self, item: Any, budget: int) -> Any:
        whole = not isinstance(item, str | list | dict) or len(dumps(item)) <= budget // 2
        # Half of the budget at most: a long list must not hide what follows it.
        small = whole and not (isinstance(item, str) and len(item) > _TEXT)
        return item if small else self.cut(item, budget // 2)


class EmbeddedDataclips:
    """States of a run by dataclip id, each embedded once."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        self._limit = choose_limit(map(len, texts.values()))
        self._indexes: dict[str, int] = {}
        self.items: list[EmbeddedDataclip] = []

    def index_of(self, name: str | None) -> int | None:
        """Return the index of a state in ``items``; None for an unknown one."""
        if name is None or name not in self._texts:
            return None
        text = self._texts[name]
        if text not in self._indexes:
            self._indexes[text] = len(self.items)
            self.items.append(embed_dataclip(text, self._limit))
        return self._indexes[text]
