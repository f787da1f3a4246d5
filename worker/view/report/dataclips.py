"""The states that a report holds: each once, and cut where one is too large to look at.

A cut is said in the state itself, by texts that begin with the clip's ``cut``. That holds a part of
the hash of the whole, so that no state can pretend to have been cut.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from worker.util.json import dumps

DEPTH: Final = 100
TOTAL: Final = 16_000_000
"""About how much of states a page holds, in characters."""
LIMITS: Final = (256_000, 128_000, 64_000, 32_000, 16_000, 8_000, 4_000)
_TEXT: Final = 20_000
_KEY: Final = 300
_LEAST: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedDataclip:
    """A state as JSON text; ``size`` is the length of the whole. ``cut`` is empty where it is."""

    text: str
    size: int
    cut: str = ""


def limit_for(sizes: Iterable[int]) -> int:
    """The most characters of one state, so that a page with all of them is of use."""
    known = list(sizes)
    fitting = (one for one in LIMITS if sum(min(size, one) for size in known) <= TOTAL)
    return next(fitting, LIMITS[-1])


def clip_of(text: str, limit: int) -> EmbeddedDataclip:
    """A state within about ``limit`` characters and ``DEPTH`` levels."""
    deep = text.count("[") + text.count("{") > DEPTH and _depth(text) > DEPTH
    if len(text) <= limit and not deep:
        return EmbeddedDataclip(text=text, size=len(text))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    sign = f"cut-{digest[:16]}:"
    flat = _flattened(text, sign) if deep else text
    try:
        value = json.loads(flat)
    except ValueError:
        return EmbeddedDataclip(text=dumps(f"{sign}not JSON"), size=len(text), cut=sign)
    return EmbeddedDataclip(text=dumps(_Cutter(sign).cut(value, limit)), size=len(text), cut=sign)


BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')
"""The brackets of a JSON text, and the strings, in which there are none."""


def _depth(text: str) -> int:
    depth = most = 0
    for token in BRACKETS.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        most = max(most, depth)
    return most


def _flattened(text: str, sign: str) -> str:
    """The text with a word in place of what is nested too deeply."""
    kept: list[str] = []
    depth = begun = 0
    for token in BRACKETS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == DEPTH:
                kept.append(text[begun : token.start()])
        elif token[0] in "]}":
            depth -= 1
            if depth == DEPTH - 1:
                kept.append(f'"{sign}nested more than {DEPTH} levels deep"')
                begun = token.end()
    return "".join([*kept, text[begun:]])


class _Cutter:
    """Cuts values, whose first parts are kept; a part has at most half of the room that is left,
    so that a long list does not hide what stands beside it."""

    def __init__(self, sign: str) -> None:
        self._sign = sign

    def cut(self, value: Any, room: int) -> Any:
        match value:
            case str():
                return self._text(value, room)
            case list():
                return self._list(value, room)
            case dict():
                return self._object(value, room)
            case _:
                return value

    def _text(self, text: str, room: int) -> str:
        kept = max(min(room, _TEXT), _LEAST)
        if len(text) <= kept:
            return text
        return f"{self._sign}{text[:kept]}… ({len(text) - kept:,} more characters)"

    def _list(self, items: list[Any], room: int) -> list[Any]:
        kept: list[Any] = []
        for number, item in enumerate(items):
            if room < _LEAST:
                return [*kept, f"{self._sign}{len(items) - number:,} more"]
            kept.append(self._part(item, room))
            room -= len(dumps(kept[-1])) + 1
        return kept

    def _object(self, items: dict[str, Any], room: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for number, (key, item) in enumerate(items.items()):
            if room < _LEAST:
                return {**kept, f"{self._sign}": f"{self._sign}{len(items) - number:,} more"}
            name = key if len(key) <= _KEY else f"{key[:_KEY]}… ({len(key):,} characters)"
            kept[name] = self._part(item, room)
            room -= len(dumps({name: kept[name]}))
        return kept

    def _part(self, item: Any, room: int) -> Any:
        whole = not isinstance(item, str | list | dict) or len(dumps(item)) <= room // 2
        small = whole and not (isinstance(item, str) and len(item) > _TEXT)
        return item if small else self.cut(item, room // 2)


class EmbeddedDataclips:
    """The states of a run by their names, each cut once."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        self._limit = limit_for(map(len, texts.values()))
        self._places: dict[str, int] = {}
        self.kept: list[EmbeddedDataclip] = []

    def place(self, name: str | None) -> int | None:
        """Where a state stands among those that are kept; None for one that is not known."""
        if name is None or name not in self._texts:
            return None
        text = self._texts[name]
        if text not in self._places:
            self._places[text] = len(self.kept)
            self.kept.append(clip_of(text, self._limit))
        return self._places[text]
