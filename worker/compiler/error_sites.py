"""Error sites: the call or iteration at the position of an error such as ``not a function``.

The engine reports the last position that it recorded in the function's code before the instruction
that failed. It records a name that is read, exactly where it stands; and the token after ``(`` of a
call, after ``new``, ``throw`` or a binary operator, and at the start of an expression statement.
The column of such a token is the start of the nearest word, or the end of the nearest space, at or
before it, and counts bytes.
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

# Messages stay short, and the search for a token stays linear in a source without spaces.
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
    """Rule for the position of a mark. At one offset, that of a name is recorded last."""

    TOKEN = 0
    AFTER = 1
    NAME = 2


Marks = list[tuple[int, MarkKind]]
"""Positions that the engine records in one function, as offsets into the source."""


@dataclass(slots=True)
class ErrorSites:
    """Collects calls and iterations, and computes where the engine will report their errors."""

    source: bytes
    _calls: list[tuple[Marks, int, int, Node]] = field(default_factory=list)
    _iterations: list[tuple[Marks, int, int, Node]] = field(default_factory=list)

    def call(self, marks: Marks, start: int, end: int, callee: Node) -> None:
        """Add a call that the engine records first at ``start``, with arguments up to ``end``."""
        self._calls.append((marks, start, end, callee))

    def iteration(self, marks: Marks, start: int, end: int, iterable: Node) -> None:
        self._iterations.append((marks, start, end, iterable))

    def located(self, edited: Edited, wrapped: Sequence[tuple[int, int]]) -> dict[str, str]:
        """Map each ``line:column`` in the body to the text of the expression that fails there.

        ``wrapped`` are the ranges that became functions of their own. If calls share a position
        (``a(b(x))``), the text names them all, except the language's own functions. An iteration
        at the position of a call (``a(...b)``) has the key ``line:column:iterated``.
        """
        locator = _Locator(edited, sorted(wrapped))
        called: dict[str, dict[str, None]] = {}
        for marks, start, end, callee in self._calls:
            position = locator.last_mark(marks, start, end)
            called.setdefault(position, {})[expression_text(self.source, callee)] = None
        sites = {key: _capped(" or ".join(_suspects(texts))) for key, texts in called.items()}
        for marks, start, end, iterable in self._iterations:
            position = locator.last_mark(marks, start, end)
            shared = not all(map(_is_known, called.get(position, ())))
            key = f"{position}:iterated" if shared else position
            sites[key] = _capped(self._iterable(iterable))
        sites.pop("", None)  # what has no mark of its own
        return sites

    def _iterable(self, node: Node) -> str:
        if node.type != "call_expression":
            return expression_text(self.source, node)
        callee = node.child_by_field_name("function") or node
        return f"{expression_text(self.source, callee)} is not a function or its return value"


class _Locator:
    """Computes the position that the engine reports, in the edited body."""

    def __init__(self, edited: Edited, wrapped: Sequence[tuple[int, int]]) -> None:
        self._edited, self._wrapped = edited, wrapped
        self._enclosing = _enclosing(wrapped)
        self._line_starts = [0, *(match.end() for match in re.finditer(rb"\n", edited.body))]
        self._sorted: set[int] = set()

    def last_mark(self, marks: Marks, start: int, end: int) -> str:
        """Return the last mark in a range, as ``line:column``; empty if there is none."""
        # The walk collects marks in any order; each function's are sorted once.
        if id(marks) not in self._sorted:
            marks.sort()
            self._sorted.add(id(marks))
        index = bisect_left(marks, (end,)) - 1
        # Marks inside of a wrapped range belong to its function, not to the one around it.
        while index >= 0 and (wrap_start := self._wrap_start(marks[index][0], start)):
            index = bisect_left(marks, (wrap_start,)) - 1
        return self._format(*marks[index]) if index >= 0 and marks[index][0] >= start else ""

    def _wrap_start(self, offset: int, start: int) -> int:
        """Return the start of a wrapped range that contains ``offset`` and not ``start``, or 0."""
        index = bisect_right(self._wrapped, offset, key=_first) - 1
        while index >= 0 and self._wrapped[index][1] <= offset:
            index = self._enclosing[index]
        return self._wrapped[index][0] if index >= 0 and self._wrapped[index][0] > start else 0

    def _format(self, offset: int, kind: MarkKind) -> str:
        body, position = self._edited.body, self._edited.moved(offset)
        if kind is MarkKind.AFTER:
            space = _SPACE.match(body, position + 1)
            position = space.end() if space else position + 1
        if kind is not MarkKind.NAME:
            position = _token_position(body, position)
        line = bisect_right(self._line_starts, position)
        return f"{line}:{position - self._line_starts[line - 1] + 1}"


def _first(wrapped: tuple[int, int]) -> int:
    return wrapped[0]


def _enclosing(ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Compute, for sorted nested ranges, the index of the range around each (-1: none)."""
    enclosing: list[int] = []
    for index, (start, _) in enumerate(ranges):
        around = index - 1
        while around >= 0 and ranges[around][1] <= start:
            around = enclosing[around]
        enclosing.append(around)
    return enclosing


def _token_position(body: bytes, position: int) -> int:
    """Compute the offset that the engine reports for a token: see the top of this module."""
    for _ in range(_TOKENS_BACK):
        if position == 0 or _WORD_START.match(body, position):
            break
        if body[position - 1 : position].isspace() or body.endswith(b"*/", 0, position):
            break
        position = _previous(body, position)
    return position


def _previous(body: bytes, position: int) -> int:
    near = max(0, position - _LOOK_BACK)
    last = body[position - 1 : position]
    if last in (b"'", b'"'):
        opening = body.rfind(last, near, position - 1)
        return opening if opening >= 0 else position - 1
    word = _WORD_END.search(body, near, position) if _WORD.match(last) else None
    return word.start() if word else position - 1


# Functions of the language exist: if there is another callee, that one fails.
def _suspects(texts: dict[str, None]) -> Iterator[str]:
    unknown = [text for text in texts if not _is_known(text)]
    return iter(unknown or texts)


def _is_known(callee: str) -> bool:
    """Return whether a callee is a function literal, or a function of the language."""
    return callee == _UNNAMED or callee.partition(".")[0].encode() in JS_GLOBALS


def _capped(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 1]}…"


def expression_text(source: bytes, node: Node) -> str:
    """Format an expression as in Node's errors: ``o.foo``, ``f(...).x``, ``a[i]``."""
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
    """Split a chain into its last link and the expression before it."""
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
