"""Anonymous functions that V8 shows with a name in stacks, as it infers one for them.

OpenFn takes a function with a name in a stack for an adaptor's. While V8 parses a function, it
lists the anonymous ones in it. The end of a call takes the last one off the list; a property of an
object, and an assignment of anything but a call, names all that are on it. So ``f`` of
``post(f, {a: 1})`` and of ``s.f = f`` has a name, that of ``post({a: 1}, f)`` has none.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tree_sitter import Node

# The order of what ends at one offset, for the same node.
_CALL, _FUNCTION, _NAMING = range(3)
# Each function is parsed again when it is called: nesting would cost its square.
_DEPTH_LIMIT: Final = 16
_CHAIN: Final = ("call_expression", "member_expression", "subscript_expression")

Range = tuple[int, int]
_Event = tuple[int, int, int]


@dataclass(slots=True)
class InferredNames:
    """Collects what names the functions of a source, in any order; all by offsets."""

    _events: list[_Event] = field(default_factory=list)
    _functions: list[tuple[int, int, bool]] = field(default_factory=list)

    def call(self, start: int, end: int) -> None:
        """Add a call."""
        self._events.append((end, -start, _CALL))

    def function(self, start: int, end: int, *, is_open: bool, is_named: bool) -> None:
        """Add a function; V8 looks into an open one while it parses what is around it."""
        self._functions.append((start, -end, is_open))
        if not is_named:
            self._events.append((end, -start, _FUNCTION))

    def properties(self, node: Node) -> None:
        """Add the properties of an object, a pattern or a class."""
        self._events += [
            (child.end_byte, -child.start_byte, _NAMING)
            for child in node.named_children
            if child.type != "comment"
        ]

    def assignment(self, node: Node, value: Node) -> None:
        """Add an assignment or an initial value."""
        kind = _CALL if _is_call(value) else _NAMING
        self._events.append((node.end_byte, -node.start_byte, kind))

    def starts_and_ends(self, operations: Sequence[Range]) -> list[int]:
        """Return the offsets at which the named functions begin and end, by turns.

        OpenFn's compiler moves the ranges of ``operations`` to the end of the source.
        """
        if not any(kind == _FUNCTION for _, _, kind in self._events):
            return []
        self._events.sort()
        self._functions.sort()
        parents = dict(self._parents())
        named = set(_children(None, parents, self._at_top(operations)))
        around = set(parents.values())
        for start, negative_end, is_open in self._functions:
            function = (start, -negative_end)
            if function in around and _depth(parents, function) <= _DEPTH_LIMIT:
                named.update(_children(function, parents, self._inside(*function, is_open)))
        return _turns(self._functions, named, parents) if named else []

    def _parents(self) -> Iterator[tuple[Range, Range | None]]:
        around: list[Range] = []
        for start, negative_end, _ in self._functions:
            while around and around[-1][1] <= start:
                around.pop()
            yield (start, -negative_end), (around[-1] if around else None)
            around.append((start, -negative_end))

    def _inside(self, start: int, end: int, is_open: bool) -> list[_Event]:
        first = bisect_right(self._events, (start, 1, 0))
        last = bisect_left(self._events, (end, -start, _FUNCTION))
        events = self._events[first:last]
        return events if is_open else self._without_closed(events, start, end)

    def _at_top(self, operations: Sequence[Range]) -> list[_Event]:
        moved = _outermost(operations)
        events = self._without_closed(self._events, -1, 1 << 62)
        return sorted(events, key=lambda event: _around(moved, event) is not None)

    def _without_closed(self, events: Sequence[_Event], start: int, end: int) -> list[_Event]:
        after = bisect_right(self._functions, (start, 1, False))
        before = bisect_left(self._functions, (end, -1 << 62, False))
        inside = self._functions[after:before]
        closed = _outermost((first, -last) for first, last, is_open in inside if not is_open)
        return [event for event in events if _around(closed, event) in (None, _range(event))]


def _children(
    function: Range | None, parents: dict[Range, Range | None], events: Sequence[_Event]
) -> Iterator[Range]:
    """Yield the functions that get a name while V8 parses the one around them."""
    return (each for each in _named(events) if parents.get(each) == function)


def _named(events: Sequence[_Event]) -> Iterator[Range]:
    """Yield the functions that get a name."""
    waiting: list[Range] = []
    for end, negative_start, kind in events:
        if kind == _FUNCTION:
            waiting.append((-negative_start, end))
        elif kind == _NAMING:
            yield from waiting
            waiting.clear()
        elif waiting:
            waiting.pop()


def _range(event: _Event) -> Range:
    end, negative_start, _ = event
    return -negative_start, end


def _outermost(ranges: Iterable[Range]) -> list[Range]:
    outermost: list[Range] = []
    for start, end in sorted(ranges, key=lambda each: (each[0], -each[1])):
        if not outermost or start >= outermost[-1][1]:
            outermost.append((start, end))
    return outermost


def _around(ranges: Sequence[Range], event: _Event) -> Range | None:
    """Return the range that an event is in; they are sorted and apart."""
    end, negative_start, _ = event
    index = bisect_right(ranges, (-negative_start, 1 << 62)) - 1
    return ranges[index] if index >= 0 and end <= ranges[index][1] else None


def _depth(parents: dict[Range, Range | None], function: Range | None) -> int:
    depth = 0
    while function is not None and depth <= _DEPTH_LIMIT:
        depth, function = depth + 1, parents.get(function)
    return depth


def _turns(
    functions: Sequence[tuple[int, int, bool]],
    named: set[Range],
    parents: dict[Range, Range | None],
) -> list[int]:
    ranges = [(start, -end) for start, end, _ in functions]
    borders = sorted(
        [(start, 1, (start, end) in named) for start, end in ranges]
        + [(end, 0, parents.get((start, end)) in named) for start, end in ranges]
    )
    turns: list[int] = []
    for offset, _, is_named in borders:
        if is_named == len(turns) % 2:
            continue
        turns.append(offset)
    return turns


def _is_call(node: Node) -> bool:
    while node.type == "parenthesized_expression":
        inner = [child for child in node.named_children if child.type != "comment"]
        if len(inner) != 1:
            break
        node = inner[0]
    if node.type not in ("call_expression", "new_expression"):
        return False
    link: Node | None = node
    while link is not None and link.type in _CHAIN:
        if link.child_by_field_name("optional_chain") is not None:
            return False
        link = link.child(0)
    return link is None or link.type != "import"
