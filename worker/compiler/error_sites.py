"""Error sites: what was called, iterated or destructured at the position of an error.

The engine reports a position, the same as V8: of a call the name that is called (``b`` in
``a.b(c)``) or else its parenthesis, of ``new`` that word, of a property its name, of an index its
bracket, of an operator itself. A pattern is reported at its own bracket.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

    from worker.compiler.edits import Edited, Positions

TEXT_LIMIT = 60
"""Length of an expression in a message."""

_CHAIN_LIMIT = 12
_LEVEL_LIMIT = 20
_WRAPPERS = ("parenthesized_expression", "await_expression")
_UNNAMED = "(intermediate value)"
_LITERALS = ("number", "object", "regex", "true", "false")
# V8 names these where they are destructured by a declaration, not by an assignment.
_NAMED = ("identifier", "null", "undefined")

# V8 reports the call of a property of such a name at its parenthesis.
_KEYWORDS = frozenset(
    (
        "break", "case", "catch", "class", "const", "continue", "debugger", "default", "delete",
        "do", "else", "enum", "export", "extends", "false", "finally", "for", "function", "if",
        "import", "in", "instanceof", "new", "null", "return", "super", "switch", "this", "throw",
        "true", "try", "typeof", "var", "void", "while", "with",
    )
)  # fmt: skip

Site = dict[str, str | int | bool]
"""Description of a site.

It has ``called``, ``constructed`` or ``iterated``, or ``pattern`` with ``property`` and ``of``.

``line`` and ``column`` are where V8 reports it in the author's source, if elsewhere than the engine
does. ``reads``, ``deletes``, ``assigns`` and ``calls`` are columns for errors of that kind alone.
"""


@dataclass(slots=True)
class ErrorSites:
    """Collects the sites of a source, by the offsets that the engine reports."""

    source: bytes
    positions: Positions
    _sites: list[tuple[int, Site]] = field(default_factory=list)
    _patterns: set[int] = field(default_factory=set)
    _following_call: dict[int, bool] = field(default_factory=dict)

    def call(self, callee: Node, arguments: Node) -> None:
        """Add a call."""
        name = _called_name(callee)
        offset = arguments.start_byte if name is None else name.start_byte
        site: Site = {"called": self._text(callee)}
        is_keyword = name is not None and _slice(self.source, name) in _KEYWORDS
        if arguments.type == "template_string" or (is_keyword and callee.type != "super"):
            site["calls"] = self._column(arguments.start_byte)
        self._sites.append((offset, site))

    def member(self, node: Node) -> None:
        """Add a property that is read after a call, which V8 reports at its dot."""
        name, before = node.child_by_field_name("property"), node.child(0)
        if name is not None and before is not None and self._follows_call(node):
            dot = node.children[1].start_byte
            self._sites.append((name.start_byte, {"reads": self._column(dot)}))

    def _follows_call(self, node: Node) -> bool:
        """Return whether a call or ``?.`` stands before a property in its chain."""
        # The links of a chain have the same answer up to the call, and a chain can be very long.
        links: list[int] = []
        link: Node | None = node
        follows = False
        while link is not None and link.id not in self._following_call:
            if link.type not in ("member_expression", "subscript_expression"):
                follows = link.type == "call_expression"
                break
            links.append(link.id)
            if link.child_by_field_name("optional_chain") is not None:
                follows = True
                break
            link = link.child(0)
        else:
            follows = link is not None and self._following_call[link.id]
        self._following_call.update(dict.fromkeys(links, follows))
        return follows

    def update(self, node: Node) -> None:
        """Add ``x++``, ``--x.y`` or ``x += 1``, which read their target first."""
        target = node.child_by_field_name("argument") or node.child_by_field_name("left")
        operator = node.child_by_field_name("operator")
        if target is None or operator is None:
            return
        self._reads_object(target)
        if target.type == "identifier" and operator.start_byte > target.start_byte:
            assigns = self._column(operator.start_byte)
            self._sites.append((target.start_byte, {"assigns": assigns}))

    def setting(self, target: Node, at: int) -> None:
        """Add an assignment to a property, which fails at its operator."""
        name = target.child_by_field_name("property")
        if name is not None:
            self._sites.append((at, {"sets": _slice(self.source, name)}))

    def deletion(self, node: Node, target: Node) -> None:
        """Add a ``delete`` of a property."""
        deletes = self._column(node.start_byte)
        object = target.child(0)
        if object is not None and object.type in ("member_expression", "subscript_expression"):
            self._reads_object(target)
        else:
            self._sites.append((reported_offset(target), {"reads": deletes}))
        self._sites.append((reported_offset(target), {"deletes": deletes}))

    def _reads_object(self, target: Node) -> None:
        if target.type not in ("member_expression", "subscript_expression"):
            return
        object = target.child(0)
        if object is not None:
            reads = self._column(reported_offset(object))
            self._sites.append((reported_offset(target), {"reads": reads}))

    def construction(self, node: Node, constructor: Node) -> None:
        """Add a ``new`` expression."""
        self._sites.append((node.start_byte, {"constructed": self._text(constructor)}))

    def iteration(
        self, iterable: Node, call: Node | None = None, list_around: Node | None = None
    ) -> None:
        """Add an expression that is iterated: spread into a call or a list, or anything else."""
        text = "{}" if iterable.type == "object" else self._text(iterable)
        if iterable.type == "call_expression":
            callee = self._text(iterable.child_by_field_name("function") or iterable)
            text = f"{callee} is not a function or its return value"
        site: Site = {"iterated": text}
        at = reported_offset(iterable)
        if call is not None:
            site |= {"spread": True, **self._place(reported_offset(call))}
            # Of a literal the engine reports what is called, or the list, or the bracket around.
            constructor = call.child_by_field_name("constructor")
            self._sites.append((reported_offset(constructor or call), site))
        elif list_around is not None:
            self._sites.append((list_around.start_byte, site | self._place(at)))
        elif iterable.type == "parenthesized_expression":
            self._sites.append((iterable.start_byte, site | self._place(at)))
        self._sites.append((at, site))

    def pattern(
        self, pattern: Node, value: Node | str, kind: str = "value", at: int | None = None
    ) -> None:
        """Add a pattern with the value that is assigned to it, or what V8 calls that value.

        ``kind`` is ``parameter`` where the value is an argument. ``at`` is where V8 reports that a
        value cannot be iterated.
        """
        if pattern.type == "object_pattern" and pattern.start_byte not in self._patterns:
            self._patterns.add(pattern.start_byte)
            of = value if isinstance(value, str) else self._text(value)
            name, has_default, at = self._first_property(pattern)
            site: Site = {"pattern": kind, "property": name, "of": "" if has_default else of}
            self._add(pattern, site, at)
        elif pattern.type == "array_pattern" and value == ".for":
            site = {"iterated": ".for", **self._place(pattern.start_byte if at is None else at)}
            self._sites.append((pattern.start_byte, site))
        elif pattern.type == "array_pattern" and kind == "parameter" and at is not None:
            self._add(pattern, {}, at)
        elif pattern.type == "array_pattern" and not isinstance(value, str):
            text = _UNNAMED if value.type == "await_expression" else ""
            if value.type in _LITERALS or (at is None and value.type in _NAMED):
                text = self._text(value)
            self._add(pattern, {"iterated": text}, value.start_byte if at is None else at)

    def _first_property(self, pattern: Node) -> tuple[str, bool, int]:
        """Return an object pattern's first name, whether it has a default, and its offset."""
        first = next(iter(pattern.named_children), None)
        match first.type if first is not None else "":
            case "shorthand_property_identifier_pattern":
                key, has_default = first, False
            case "object_assignment_pattern":
                key, has_default = first and first.child_by_field_name("left"), True
            case "pair_pattern":
                key = first and first.child_by_field_name("key")
                value = first and first.child_by_field_name("value")
                has_default = value is not None and value.type.endswith("_pattern")
            case "rest_pattern":
                inside = first.named_children[0] if first and first.named_child_count else pattern
                return "", False, inside.start_byte
            case _:
                key, has_default = None, False
        if key is None or key.type == "computed_property_name":
            return "", has_default, pattern.start_byte
        return _slice(self.source, key).strip("'\""), has_default, key.start_byte

    def _add(self, pattern: Node, site: Site, at: int) -> None:
        self._sites.append((pattern.start_byte, site | self._place(at)))

    def _place(self, at: int) -> Site:
        return {"line": self.positions.line(at), "column": self._column(at)}

    def _column(self, at: int) -> int:
        return self.positions.column(at)

    def _text(self, node: Node) -> str:
        return _capped(expression_text(self.source, node))

    def located(self, edited: Edited) -> dict[str, Site]:
        """Map each ``line:column`` in the body, where the engine reports an error, to its site."""
        line_starts = [0, *(match.end() for match in re.finditer(rb"\n", edited.body))]
        sites: dict[str, Site] = {}
        for offset, site in self._sites:
            position = edited.moved(offset)
            line = bisect_right(line_starts, position)
            key = f"{line}:{position - line_starts[line - 1] + 1}"
            # One position can be that of a call and of its spread result.
            sites.setdefault(key, {}).update(site)
        return sites


def _called_name(callee: Node) -> Node | None:
    """Return the last name of a callee, where V8 reports its call; ``None`` if it has none."""
    if callee.type in ("identifier", "super", "import", "undefined"):
        return callee
    if callee.type == "member_expression":
        return callee.child_by_field_name("property")
    return None


def reported_offset(node: Node) -> int:
    """Return where V8 reports that the value of an expression is of the wrong kind."""
    while node.type in _WRAPPERS and node.named_child_count == 1:
        node = node.named_children[0]
    match node.type:
        case "member_expression":
            name = node.child_by_field_name("property")
            return name.start_byte if name is not None else node.start_byte
        case "subscript_expression":
            bracket = next((child for child in node.children if child.type == "["), node)
            return bracket.start_byte
        case "call_expression":
            callee = node.child_by_field_name("function")
            arguments = node.child_by_field_name("arguments")
            name = _called_name(callee) if callee is not None else None
            return (name or arguments or node).start_byte
        case "binary_expression":
            operator = node.child_by_field_name("operator")
            return (operator or node).start_byte
        case _:
            return node.start_byte


def _capped(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 1]}…"


def expression_text(source: bytes, node: Node, levels: int = _LEVEL_LIMIT) -> str:
    """Format an expression as in Node's errors: ``o.foo``, ``f(...).x``, ``a[i]``.

    What is inside of more than ``levels`` others has no name.
    """
    parts: list[str] = []
    following: Node | None = node if levels else None
    while following is not None:
        part, following = _part(source, following, levels)
        parts.append(part)
        if len(parts) == _CHAIN_LIMIT and following is not None:
            parts.append(_UNNAMED)
            break
    return "".join(reversed(parts)) if levels else _UNNAMED


def _part(source: bytes, node: Node, levels: int) -> tuple[str, Node | None]:
    """Split a chain into its last link and the expression before it."""
    match node.type:
        case "identifier" | "this" | "undefined" | "number" | "null" | "true" | "false":
            return _slice(source, node), None
        case "string":
            return f'"{_slice(source, node)[1:-1]}"', None
        case "template_string" if not any(c.type == "template_substitution" for c in node.children):
            return f'"{_slice(source, node)[1:-1]}"', None
        case "array" if node.end_byte - node.start_byte <= 20:
            return _slice(source, node).replace(", ", ","), None
        case "regex" if node.end_byte - node.start_byte <= 20:
            return _slice(source, node), None
        case "object" if node.named_child_count:
            return f"{{{_UNNAMED}}}", None
        case "object":
            return "{}", None
        case "binary_expression" | "unary_expression" if node.end_byte - node.start_byte <= 40:
            return f"({_operation(source, node, levels)})", None
        case "parenthesized_expression" if _is_sequence(node):
            listed = node.named_children[0].named_children[:TEXT_LIMIT]
            parts = [expression_text(source, part, levels - 1) for part in listed]
            return f"({' , '.join(parts)})", None
        case "member_expression":
            dot = "?." if node.child_by_field_name("optional_chain") else "."
            name = node.child_by_field_name("property")
            return dot + (_slice(source, name) if name else ""), node.child(0)
        case "subscript_expression":
            return _index(source, node, levels), node.child(0)
        case "call_expression":
            return "(...)", node.child(0)
        case "parenthesized_expression" if node.named_child_count == 1:
            return "", node.named_child(0)
        case _:
            return _UNNAMED, None


def _operation(source: bytes, node: Node, levels: int) -> str:
    """Format an operator with its operands, which V8 writes with its own spaces."""
    operator = node.child_by_field_name("operator")
    sign = _slice(source, operator) if operator is not None else ""
    sides = [node.child_by_field_name(side) for side in ("left", "right", "argument")]
    operands = [expression_text(source, side, levels - 1) for side in sides if side is not None]
    if len(operands) == 1:
        return f"{sign}{' ' if sign.isalpha() else ''}{operands[0]}"
    return f" {sign} ".join(operands)


def _is_sequence(node: Node) -> bool:
    return node.named_child_count == 1 and node.named_children[0].type == "sequence_expression"


def _index(source: bytes, node: Node, levels: int) -> str:
    index = node.child_by_field_name("index")
    if index is None or index.end_byte - index.start_byte > 20:
        return "[...]"
    text = expression_text(source, index, levels - 1)
    return f".{text[1:-1]}" if text.startswith('"') else f"[{text}]"


def _slice(source: bytes, node: Node) -> str:
    return source[node.start_byte : min(node.end_byte, node.start_byte + 200)].decode(
        errors="ignore"
    )
