"""Which call or iteration stands where the engine reports ``not a function``.

The engine gives an error the last place that it noted in the function's code before the
instruction that failed. It notes: a name that is read, exactly where it stands; the token after
``(`` of a call, after ``new``, ``throw`` or a binary operator, and at the start of an expression
statement. The column of such a token is the start of the nearest word or the end of the nearest
space up to it, and counts bytes.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from worker.compiler.scope import JS_GLOBALS

if TYPE_CHECKING:
    from tree_sitter import Node

    from worker.compiler.edits import Edited

TEXT_LIMIT = 60
_CHAIN_LIMIT = 12
_LOOK_BACK = 200
_TOKENS_BACK = 20
_UNNAMED = "(intermediate value)"

_SPACE = re.compile(rb"(?:\s|/\*.*?\*/|//[^\n]*)*", re.DOTALL)
_WORD_START = re.compile(rb"[A-Za-z_$]")
_WORD = re.compile(rb"[\w$\x80-\xff]")
_WORD_END = re.compile(rb"(?<![\w$\x80-\xff])[\w$\x80-\xff]+\Z")


class MarkKind(IntEnum):
    """How the engine computes the place of a mark. At one offset a name's is noted last."""

    TOKEN = 0
    AFTER = 1
    NAME = 2


Marks = list[tuple[int, MarkKind]]
"""The places that the engine notes in one function, as offsets into the source."""


@dataclass(slots=True)
class ErrorSites:
    """Collects what can fail; ``located`` then tells where the engine will say that it did."""

    source: bytes
    _calls: list[tuple[Marks, int, int, Node]] = field(default_factory=list)
    _iterations: list[tuple[Marks, int, int, Node]] = field(default_factory=list)

    def call(self, marks: Marks, start: int, end: int, callee: Node) -> None:
        """A call noted first at ``start``, its arguments done at ``end``."""
        self._calls.append((marks, start, end, callee))

    def iteration(self, marks: Marks, start: int, end: int, iterable: Node) -> None:
        self._iterations.append((marks, start, end, iterable))

    def located(self, edited: Edited, wrapped: Sequence[tuple[int, int]]) -> dict[str, str]:
        """``line:column`` in the body to the text of what stands there.

        ``wrapped`` are the ranges that became functions of their own. Where calls share a place
        (``a(b(x))``), the text names them all, less the language's own functions. What is
        iterated at the place of a call (``a(...b)``) stands under ``line:column:iterated``.
        """
        places = _Places(edited, sorted(wrapped))
        called: dict[str, dict[str, None]] = {}
        for marks, start, end, callee in self._calls:
            place = places.of(marks, start, end)
            called.setdefault(place, {})[expression_text(self.source, callee)] = None
        found = {place: _capped(" or ".join(_suspects(texts))) for place, texts in called.items()}
        for marks, start, end, iterable in self._iterations:
            place = places.of(marks, start, end)
            shared = not all(map(_is_known, called.get(place, ())))
            found[f"{place}:iterated" if shared else place] = _capped(self._iterable(iterable))
        found.pop("", None)
        return found

    def _iterable(self, node: Node) -> str:
        if node.type != "call_expression":
            return expression_text(self.source, node)
        callee = node.child_by_field_name("function") or node
        return f"{expression_text(self.source, callee)} is not a function or its return value"


class _Places:
    """Finds the place that the engine reports, in the body as it was edited."""

    def __init__(self, edited: Edited, wrapped: Sequence[tuple[int, int]]) -> None:
        self._edited, self._wrapped = edited, wrapped
        self._enclosing = _enclosing(wrapped)
        self._lines = [0, *(at.end() for at in re.finditer(rb"\n", edited.body))]
        self._sorted: set[int] = set()

    def of(self, marks: Marks, start: int, end: int) -> str:
        """The last mark in a range, as ``line:column``; empty where there is none."""
        if id(marks) not in self._sorted:
            marks.sort()
            self._sorted.add(id(marks))
        at = bisect_left(marks, (end,)) - 1
        while at >= 0 and (elsewhere := self._wrap_of(marks[at][0], start)):
            at = bisect_left(marks, (elsewhere,)) - 1
        return self._text(*marks[at]) if at >= 0 and marks[at][0] >= start else ""

    def _wrap_of(self, offset: int, start: int) -> int:
        """Where a wrapped range begins that holds ``offset`` and not ``start``, or 0."""
        at = bisect_right(self._wrapped, offset, key=_first) - 1
        while at >= 0 and self._wrapped[at][1] <= offset:
            at = self._enclosing[at]
        return self._wrapped[at][0] if at >= 0 and self._wrapped[at][0] > start else 0

    def _text(self, offset: int, kind: MarkKind) -> str:
        body, at = self._edited.body, self._edited.moved(offset)
        if kind is MarkKind.AFTER:
            space = _SPACE.match(body, at + 1)
            at = space.end() if space else at + 1
        if kind is not MarkKind.NAME:
            at = _token_column(body, at)
        line = bisect_right(self._lines, at)
        return f"{line}:{at - self._lines[line - 1] + 1}"


def _first(wrapped: tuple[int, int]) -> int:
    return wrapped[0]


def _enclosing(ranges: Sequence[tuple[int, int]]) -> list[int]:
    """For each of some nested ranges, sorted, the index of the one around it (-1: none)."""
    found: list[int] = []
    for at, (start, _) in enumerate(ranges):
        around = at - 1
        while around >= 0 and ranges[around][1] <= start:
            around = found[around]
        found.append(around)
    return found


def _token_column(body: bytes, at: int) -> int:
    """Where the engine sees a token that starts at ``at``: see the top of this module."""
    for _ in range(_TOKENS_BACK):
        if at == 0 or _WORD_START.match(body, at) or body[at - 1 : at].isspace():
            break
        if body.endswith(b"*/", 0, at):
            break
        at = _previous(body, at)
    return at


def _previous(body: bytes, at: int) -> int:
    near = max(0, at - _LOOK_BACK)
    last = body[at - 1 : at]
    if last in (b"'", b'"'):
        opening = body.rfind(last, near, at - 1)
        return opening if opening >= 0 else at - 1
    word = _WORD_END.search(body, near, at) if _WORD.match(last) else None
    return word.start() if word else at - 1


def _suspects(texts: dict[str, None]) -> Iterator[str]:
    unknown = [text for text in texts if not _is_known(text)]
    return iter(unknown or texts)


def _is_known(callee: str) -> bool:
    """A function literal, or a function of the language."""
    return callee == _UNNAMED or callee.partition(".")[0].encode() in JS_GLOBALS


def _capped(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 1]}…"


def expression_text(source: bytes, node: Node) -> str:
    """An expression in the words of Node's errors: ``o.foo``, ``f(...).x``, ``a[i]``."""
    parts: list[str] = []
    following: Node | None = node
    while following is not None:
        part, following = _part(source, following)
        parts.append(part)
        if len(parts) == _CHAIN_LIMIT and following is not None:
            parts.append(_UNNAMED)
            break
    return "".join(reversed(parts))


def _part(source: bytes, node: Node) -> tuple[str, Node | None]:
    """The last link of a chain, and what stands before it."""
    match node.type:
        case "identifier" | "this" | "undefined" | "number":
            return _slice(source, node), None
        case "string":
            return f'"{_slice(source, node)[1:-1]}"', None
        case "array" | "regex" if node.end_byte - node.start_byte <= 20:
            return _slice(source, node), None
        case "member_expression":
            dot = "?." if node.child_by_field_name("optional_chain") else "."
            name = node.child_by_field_name("property")
            return dot + (_slice(source, name) if name else ""), node.child(0)
        case "subscript_expression":
            return _index(source, node), node.child(0)
        case "call_expression":
            return "(...)", node.child(0)
        case "parenthesized_expression" if node.named_child_count == 1:
            return "", node.named_child(0)
        case _:
            return _UNNAMED, None


def _index(source: bytes, node: Node) -> str:
    index = node.child_by_field_name("index")
    if index is None or index.end_byte - index.start_byte > 20:
        return "[...]"
    text = _slice(source, index)
    return f".{text[1:-1]}" if index.type == "string" else f"[{text}]"


def _slice(source: bytes, node: Node) -> str:
    return source[node.start_byte : node.end_byte][:200].decode(errors="ignore")
