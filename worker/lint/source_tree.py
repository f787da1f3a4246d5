"""Syntax trees of jobs and conditions, as the checks read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

FUNCTIONS = (
    *("arrow_function", "function_expression", "function_declaration", "method_definition"),
    *("generator_function", "generator_function_declaration"),
)
_CHAIN = ("call_expression", "member_expression", "subscript_expression")


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Node of a tree with the way up from it: the parser's own finds a parent from the root."""

    node: Node
    parent: Place | None = None

    @property
    def line(self) -> int:
        return self.node.start_point[0] + 1

    def ancestors(self) -> Iterator[Place]:
        place = self.parent
        while place is not None:
            yield place
            place = place.parent

    @property
    def in_function(self) -> bool:
        return any(place.node.type in FUNCTIONS for place in self.ancestors())


def walk(root: Node) -> Iterator[Place]:
    """Yield all nodes in the order of the source."""
    # A stack instead of recursion: a source can be nested more deeply than Python's limit.
    waiting = [Place(root)]
    while waiting:
        place = waiting.pop()
        yield place
        waiting += [Place(child, place) for child in reversed(place.node.children)]


def text_of(node: Node | None) -> str:
    return node.text.decode() if node is not None and node.text is not None else ""


def first_of(node: Node) -> Node | None:
    """Return the first child that is no token; None if there is none."""
    return next((child for child in node.named_children if child.type != "comment"), None)


def strip(node: Node | None) -> Node | None:
    """Return the expression inside any parentheses."""
    while node is not None and node.type == "parenthesized_expression":
        node = first_of(node)
    return node


def root_name(callee: Node | None) -> str:
    """Return the name that a chain of members and calls begins with; empty if it has none."""
    node = strip(callee)
    while node is not None and node.type in _CHAIN:
        node = strip(node.child(0))
    return text_of(node) if node is not None and node.type == "identifier" else ""


def short_text(node: Node) -> str:
    """Return a call or name on one line, short enough for a message."""
    text = " ".join(text_of(node).split())
    return text if len(text) <= 40 else f"{text[:39]}…"
