"""Parts of a condition that have the same truth in every run: functions, promises, literals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker.lint.source_tree import FUNCTIONS, root_name, short_text, strip, text_of

if TYPE_CHECKING:
    from tree_sitter import Node

_KINDS = {
    **dict.fromkeys(FUNCTIONS, "a function"),
    **dict.fromkeys(("class", "object", "array", "regex", "new_expression"), "an object"),
    **dict.fromkeys(("string", "number", "template_string"), "a literal"),
    **dict.fromkeys(("true", "false", "null", "undefined"), "a literal"),
}
# Only what gives a list of whatever it is called on: a slice may be an empty text.
_LIST_METHODS = ("filter", "flatMap", "map", "sort", "split")
_LIST_FUNCTIONS = ("Object.keys", "Object.values", "Object.entries", "Array.from", "Array.of")
_LOGICAL = ("&&", "||", "??")
_FALSE = ("", '""', "''", "``", "0", "false", "null", "undefined", "NaN")


def constant_parts(condition: Node) -> Iterator[str]:
    """Yield a message for each part of a condition whose truth does not depend on the state."""
    waiting = [condition]
    while waiting:
        node = strip(waiting.pop())
        if node is None:
            continue
        match node.type:
            case "binary_expression" if text_of(node.child_by_field_name("operator")) in _LOGICAL:
                waiting += [node.child_by_field_name(side) for side in ("right", "left")]  # type: ignore[misc]
            case "ternary_expression" | "sequence_expression":
                waiting += reversed(node.named_children)
            case "unary_expression" if text_of(node.child(0)) == "!":
                waiting += node.named_children[-1:]
            case "expression_statement" | "program":
                waiting += [child for child in node.named_children if child.type != "comment"]
            case "assignment_expression":
                yield f"'{short_text(node)}' assigns a value: write === to compare"
            case "unary_expression" if text_of(node.child(0)) == "typeof":
                yield f"'{short_text(node)}' is the name of a type, which is always true"
            case "call_expression" if _is_promise(node):
                yield f"'{short_text(node)}' is a promise, which is always true"
            case "call_expression" if _is_list(node):
                yield f"'{short_text(node)}' is a list, which is always true: ask for its length"
            case kind if kind in _KINDS and not _has_holes(node):
                truth = "false" if text_of(node) in _FALSE else "true"
                yield f"'{short_text(node)}' is {_KINDS[kind]}, which is always {truth}"


def _is_promise(call: Node) -> bool:
    callee = strip(call.child_by_field_name("function"))
    if callee is not None and callee.type in FUNCTIONS:
        return text_of(callee.child(0)) == "async"
    return root_name(callee) == "Promise"


def _is_list(call: Node) -> bool:
    callee = strip(call.child_by_field_name("function"))
    if callee is None or callee.type != "member_expression":
        return False
    name = text_of(callee.child_by_field_name("property"))
    return name in _LIST_METHODS or text_of(callee) in _LIST_FUNCTIONS


def _has_holes(node: Node) -> bool:
    return any(child.type == "template_substitution" for child in node.named_children)
