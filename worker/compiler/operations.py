"""Handlers of what runs: calls with their lazy state and their promises, and what can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from worker.compiler.error_sites import MarkKind
from worker.compiler.scope import JS_GLOBALS
from worker.compiler.visitor import Handler, LazyState, NodeContext, SyntaxWalk, children

if TYPE_CHECKING:
    from tree_sitter import Node

IN_SPREAD: Final = "$ cannot be spread into arguments: write state => state instead"

# The parser takes `await (x)(y)` for calls of a function named await.
_NO_OPERATIONS: Final = JS_GLOBALS | {b"await"}

_CHAIN: Final = ("call_expression", "member_expression", "subscript_expression")


def is_operation(walk: SyntaxWalk, call: Node) -> bool:
    """Whether a top-level call makes an operation: a plain call, ``fn(x)`` or ``http.get(x)``.

    ``f?.()``, ``import(x)``, a tagged template and calls of what belongs to the language
    (``console.log(x)``) are not.
    """
    arguments = call.child_by_field_name("arguments")
    if arguments is None or arguments.type != "arguments":
        return False
    node: Node | None = call
    while node is not None and node.type in _CHAIN:
        if node.child_by_field_name("optional_chain") is not None:
            return False
        node = strip_parentheses(node.child(0))
    if node is None or node.type == "import":
        return False
    return node.type != "identifier" or walk.text(node) not in _NO_OPERATIONS


def strip_parentheses(node: Node | None) -> Node | None:
    """The expression inside any parentheses."""
    while node is not None and node.type == "parenthesized_expression":
        inner = [child for child in node.named_children if child.type != "comment"]
        node = inner[0] if inner else None
    return node


# --- calls ------------------------------------------------------------------------------------


def _call(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    callee = node.child_by_field_name("function")
    arguments = node.child_by_field_name("arguments")
    if callee is None or arguments is None:
        return children(walk, node, place)
    if place.deferring and _defer(walk, node, place):
        return None
    if callee.type == "import":
        walk.edits.replace(callee.start_byte, callee.end_byte, b"$worker.dynamicImport")
        return _arguments(walk, arguments, place.ordinary())
    if callee.type == "identifier" and walk.text(callee) != b"await":
        place.scope.called.add(walk.name(callee))
    walk.push(callee, place.ordinary())
    walk.sites.call(place.function.marks, arguments.start_byte, node.end_byte, callee)
    if place.deferring and not is_operation(walk, node):
        place = place.ordinary()
    if arguments.type == "template_string":
        place.function.marks.append((arguments.start_byte, MarkKind.TOKEN))
        return walk.push(arguments, place)
    place.function.marks.append((arguments.start_byte, MarkKind.AFTER))
    return _arguments(walk, arguments, place)


def _arguments(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    for argument in node.named_children:
        walk.push(argument, _argument(argument, place) if walk.has_dollars else place)


def _argument(node: Node, place: NodeContext) -> NodeContext:
    """``$`` in an argument makes a function of state of it."""
    error = IN_SPREAD if node.type == "spread_element" else ""
    lazy = LazyState(error, node.start_byte, node.end_byte, place.lazy)
    return NodeContext(place.scope, place.function, lazy, None, place.operation, place.deferring)


def _defer(walk: SyntaxWalk, node: Node, place: NodeContext) -> bool:
    """Turn a chain of ``.then`` and ``.catch`` on an operation into deferred operations."""
    links: list[tuple[Node, Node]] = []
    base: Node | None = node
    while base is not None and base.type == "call_expression":
        link = _link(walk, base)
        if link is None:
            break
        links.append(link)
        base = strip_parentheses(link[0].child(0))
    if not links or base is None or base.type != "call_expression":
        return False
    if not is_operation(walk, base):
        return False
    for callee, arguments in links:
        _write_link(walk, callee)
        _arguments(walk, arguments, place)
    walk.push(base, place)
    return True


def _link(walk: SyntaxWalk, call: Node) -> tuple[Node, Node] | None:
    """The callee and arguments of a call of ``.then`` or ``.catch``."""
    callee = call.child_by_field_name("function")
    arguments = call.child_by_field_name("arguments")
    if callee is None or arguments is None or callee.type != "member_expression":
        return None
    name = callee.child_by_field_name("property")
    if name is None or walk.text(name) not in (b"then", b"catch"):
        return None
    plain = (
        arguments.type == "arguments" and call.child_count == 2 and callee.children[-2].type == "."
    )
    return (callee, arguments) if plain else None


def _write_link(walk: SyntaxWalk, callee: Node) -> None:
    """``op.then(`` becomes ``$worker.defer(op, ``."""
    operation, dot, name = callee.children[0], callee.children[-2], callee.children[-1]
    walk.edits.wrap(operation.start_byte, operation.end_byte, b"$worker.defer(", b"")
    after = b", undefined, " if walk.text(name) == b"catch" else b", "
    walk.edits.replace(dot.start_byte, walk.source.index(b"(", name.end_byte) + 1, after)


# --- what else can fail, and awaits -------------------------------------------------------------


def _new(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    constructor = node.child_by_field_name("constructor")
    if constructor is not None:
        marks, start = place.function.marks, constructor.start_byte
        marks.append((start, MarkKind.TOKEN))
        walk.sites.call(marks, start, node.end_byte, constructor)
    children(walk, node, place)


def _spread(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    """``...value``; in an object it fails on nothing, and a site of it is never looked up."""
    value = node.named_child(0)
    if value is not None:
        marks = place.function.marks
        walk.sites.iteration(marks, value.start_byte, value.end_byte, value)
    children(walk, node, place)


def _yield(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    if any(child.type == "*" for child in node.children):
        _spread(walk, node, place)
    else:
        children(walk, node, place)


def _await(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    place.awaits()
    children(walk, node, place.ordinary())


def _binary(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    right = node.child_by_field_name("right")
    if right is not None and walk.text(node.children[-2]) not in _UNMARKED:
        place.function.marks.append((right.start_byte, MarkKind.TOKEN))
    children(walk, node, place)


_UNMARKED: Final = (b"&&", b"||", b"??", b"**")


def _with_value(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    """``throw`` and expression statements."""
    value = node.named_child(0)
    if value is not None:
        place.function.marks.append((value.start_byte, MarkKind.TOKEN))
    children(walk, node, place)


# --- what a function's body cannot hold ---------------------------------------------------------


def _meta(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    if walk.text(node).startswith(b"import"):
        walk.edits.replace(node.start_byte, node.end_byte, b"$worker.meta")


def _return(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    if place.function is walk.top:
        raise walk.error("Illegal return statement", node.start_byte)
    children(walk, node, place)


def _misplaced(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    message = "'import' and 'export' may only appear at the top level"
    raise walk.error(message, node.start_byte)


def _jsx(walk: SyntaxWalk, node: Node, place: NodeContext) -> None:
    walk.doubtful = True
    children(walk, node, place)


HANDLERS: Final[dict[str, Handler]] = {
    "call_expression": _call,
    "new_expression": _new,
    "spread_element": _spread,
    "yield_expression": _yield,
    "await_expression": _await,
    "binary_expression": _binary,
    "expression_statement": _with_value,
    "throw_statement": _with_value,
    "return_statement": _return,
    "meta_property": _meta,
    "import_statement": _misplaced,
    "export_statement": _misplaced,
    "jsx_element": _jsx,
    "jsx_self_closing_element": _jsx,
}
