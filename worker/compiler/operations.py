"""Handlers of nodes that run: calls with their lazy state and promises, and sites of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from worker.compiler.visitor import Handler, LazyState, NodeContext, SyntaxWalk, children

if TYPE_CHECKING:
    from tree_sitter import Node

IN_SPREAD: Final = "$ cannot be spread into arguments: write state => state instead"

_CHAIN: Final = ("call_expression", "member_expression", "subscript_expression")


def is_operation(walk: SyntaxWalk, call: Node) -> bool:
    """Return whether a top-level call makes an operation: ``fn(x)`` or ``http.get(x)``.

    ``f?.()``, ``import(x)`` and a tagged template do not. ``console.log(x)`` counts as one, as on
    OpenFn: it returns none, so the job crashes there too.
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
    # The parser takes `await (x)(y)` for calls of a function named await.
    return node.type != "identifier" or walk.text(node) != b"await"


def strip_parentheses(node: Node | None) -> Node | None:
    """Return the expression inside any parentheses."""
    while node is not None and node.type == "parenthesized_expression":
        inner = [child for child in node.named_children if child.type != "comment"]
        node = inner[0] if inner else None
    return node


# --- calls ------------------------------------------------------------------------------------


def _call(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    callee = node.child_by_field_name("function")
    arguments = node.child_by_field_name("arguments")
    if callee is None or arguments is None:
        return children(walk, node, context)
    if context.deferring and _defer(walk, node, context):
        return None
    if callee.type == "import":
        walk.edits.replace(callee.start_byte, callee.end_byte, b"$worker.dynamicImport")
        return _arguments(walk, arguments, context.as_value())
    root = _root(callee)
    if root.type == "identifier" and walk.text(root) != b"await":
        context.scope.called.add(walk.name(root))
    walk.push(callee, context.as_value())
    walk.sites.call(callee, arguments)
    _mark_spreads(walk, arguments, node)
    if arguments.type == "arguments":
        walk.inferred.call(node.start_byte, node.end_byte)
    if context.deferring and not is_operation(walk, node):
        context = context.as_value()
    if arguments.type == "template_string":
        return walk.push(arguments, context)
    if walk.has_dollars and _hangs_on_state(walk, callee):
        # The state function around the whole call has the arguments in it too.
        return children(walk, arguments, context.as_value())
    return _arguments(walk, arguments, context)


def _root(node: Node) -> Node:
    """Return the object at the start of a chain of members (``http`` of ``http.get``)."""
    while node.type == "member_expression" and (target := node.child(0)) is not None:
        node = target
    return node


def _hangs_on_state(walk: SyntaxWalk, callee: Node) -> bool:
    """Return whether a callee is a property of ``$``, directly or of what such a call returns."""
    if callee.type == "identifier":
        return False
    # The links of a chain have the same answer, and a chain can be very long.
    links: list[int] = []
    node: Node | None = callee
    while node is not None and node.type in _CHAIN and node.id not in walk.hangs_on_state:
        links.append(node.id)
        node = strip_parentheses(node.child(0))
    if node is None or node.type in _CHAIN:
        hangs = node is not None and walk.hangs_on_state[node.id]
    else:
        hangs = node.type == "identifier" and walk.text(node) == b"$"
    walk.hangs_on_state.update(dict.fromkeys(links, hangs))
    return hangs


def _arguments(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    for argument in node.named_children:
        walk.push(argument, _argument(argument, context) if walk.has_dollars else context)


def _argument(node: Node, context: NodeContext) -> NodeContext:
    """Create the context of an argument, which ``$`` turns into a function of state."""
    error = IN_SPREAD if node.type == "spread_element" else ""
    lazy = LazyState(error, node.start_byte, node.end_byte, context.lazy)
    return NodeContext(
        context.scope, context.function, lazy, None, context.operation, context.deferring
    )


def _defer(walk: SyntaxWalk, node: Node, context: NodeContext) -> bool:
    """Convert a chain of ``.then`` and ``.catch`` on an operation; return whether it is one."""
    links: list[tuple[Node, Node]] = []
    base: Node | None = node
    while base is not None and base.type == "call_expression":
        link = _link(walk, base)
        if link is None:
            break
        links.append(link)
        _mark_spreads(walk, link[1], base)
        base = strip_parentheses(link[0].child(0))
    if not links or base is None or base.type != "call_expression":
        return False
    if not is_operation(walk, base):
        return False
    for callee, arguments in links:
        _write_link(walk, callee)
        _arguments(walk, arguments, context)
        walk.inferred.call(base.start_byte, arguments.end_byte)
    walk.push(base, context)
    return True


def _link(walk: SyntaxWalk, call: Node) -> tuple[Node, Node] | None:
    """Match a call of ``.then`` or ``.catch``: its callee and arguments."""
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
    """Replace ``op.then(`` by ``$worker.defer(op, ``."""
    operation, dot, name = callee.children[0], callee.children[-2], callee.children[-1]
    walk.edits.wrap(operation.start_byte, operation.end_byte, b"$worker.defer(", b"")
    # catch(f) is then(undefined, f).
    after = b", undefined, " if walk.text(name) == b"catch" else b", "
    walk.edits.replace(dot.start_byte, walk.source.index(b"(", name.end_byte) + 1, after)


# --- sites of other errors, and await -----------------------------------------------------------


def _new(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    constructor = node.child_by_field_name("constructor")
    if constructor is not None:
        walk.sites.construction(node, constructor)
    arguments = node.child_by_field_name("arguments")
    if arguments is not None:
        _mark_spreads(walk, arguments, node)
    children(walk, node, context)


def _spread(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    # Also in an object, where it cannot fail: the engine never reports that site.
    value, around = node.named_child(0), walk.spread_into.get(node.id)
    if value is not None:
        is_array = around is not None and around.type == "array"
        call, list_around = (None, around) if is_array else (around, None)
        walk.sites.iteration(value, call, list_around)
    children(walk, node, context)


def _array(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    _mark_spreads(walk, node, node)
    children(walk, node, context)


def _mark_spreads(walk: SyntaxWalk, items: Node, into: Node) -> None:
    """Record the call, or the array, of each item that is spread."""
    spread = (item for item in items.named_children if item.type == "spread_element")
    walk.spread_into.update((item.id, into) for item in spread)


def _yield(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    if any(child.type == "*" for child in node.children):
        _spread(walk, node, context)
    else:
        children(walk, node, context)


def _await(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    walk.check_await(node.start_byte, context)
    children(walk, node, context.as_value())


# --- nodes that a function's body cannot contain ------------------------------------------------


def _meta(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    if walk.text(node).startswith(b"import"):
        walk.edits.replace(node.start_byte, node.end_byte, b"$worker.meta")


def _return(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    if context.function is walk.top:
        raise walk.error("Illegal return statement", node.start_byte)
    children(walk, node, context)


def _misplaced(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    message = "'import' and 'export' may only appear at the top level"
    raise walk.error(message, node.start_byte)


# The parser accepts JSX, which is no JavaScript: the engine decides about such a source.
def _jsx(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    walk.needs_engine_check = True
    children(walk, node, context)


HANDLERS: Final[dict[str, Handler]] = {
    "call_expression": _call,
    "new_expression": _new,
    "spread_element": _spread,
    "array": _array,
    "yield_expression": _yield,
    "await_expression": _await,
    "return_statement": _return,
    "meta_property": _meta,
    "import_statement": _misplaced,
    "export_statement": _misplaced,
    "jsx_element": _jsx,
    "jsx_self_closing_element": _jsx,
}
