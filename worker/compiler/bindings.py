"""Handlers of nodes that declare or read names: patterns, declarations, functions, classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from worker.compiler.visitor import (
    Function,
    Handler,
    LazyState,
    NodeContext,
    SyntaxWalk,
    children,
    ignore,
)

if TYPE_CHECKING:
    from tree_sitter import Node

    from worker.compiler.scope import Scope
    from worker.compiler.visitor import StateReference

_LOGICAL: Final = (b"||=", b"&&=", b"??=")
IN_FUNCTION: Final = (
    "$ stands in an arrow function whose parameter is not state: name that parameter state"
)


def _identifier(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    name = walk.name(node)
    if context.binding is not None:
        context.binding.declared.add(name)
    # The parser takes `await (x)` for a call where it does not expect await.
    elif name == b"await":
        walk.check_await(node.start_byte, context)
    else:
        context.scope.used.add(name)


def _shorthand(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    """Handle ``{name}``, in an object or in a pattern."""
    names = context.scope.used if context.binding is None else context.binding.declared
    names.add(walk.name(node))


def _member(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    target = node.child(0)
    if target is None:
        return
    if walk.has_dollars and target.type == "identifier" and walk.text(target) == b"$":
        context.scope.dollars.append((target.start_byte, context.lazy))
    else:
        walk.push(target, context)
    walk.sites.member(node)
    if node.type == "subscript_expression":
        walk.push(node.child_by_field_name("index"), context)


def _default_of(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    """Handle ``target = value`` inside a pattern or a list of parameters."""
    value = node.child_by_field_name("right")
    walk.push(node.child_by_field_name("left"), context)
    walk.push(value, context.as_value())
    if value is not None and node.id not in walk.parameter_defaults:
        walk.inferred.assignment(node, value)


def _object_pattern(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    # Of a pattern inside another, V8 names no value.
    walk.sites.pattern(node, "")
    _object(walk, node, context)


def _object(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    walk.inferred.properties(node)
    children(walk, node, context)


def _computed(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    children(walk, node, context.as_value())


def _declaration(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    kind = node.child(0)
    # var declares into the whole function, let and const into their block.
    is_var = kind is not None and kind.type == "var"
    binding = context.with_binding(context.function.scope if is_var else context.scope)
    for declarator in node.named_children:
        target = declarator.child_by_field_name("name")
        value = declarator.child_by_field_name("value")
        walk.push(target, binding)
        walk.push(value, context)
        _destructured(walk, target, value)
        if target is not None and value is not None and target.type == "identifier":
            walk.inferred.assignment(declarator, value)


def _assignment(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
    walk.push(left, context)
    walk.push(right, context)
    equals = next((child for child in node.children if child.type == "="), node)
    if left is not None:
        walk.sites.setting(left, equals.start_byte)
    _destructured(walk, left, right, equals.start_byte)
    if right is not None:
        walk.inferred.assignment(node, right)


def _update(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    walk.sites.update(node)
    children(walk, node, context)
    operator, value = node.child_by_field_name("operator"), node.child_by_field_name("right")
    if operator is None or value is None:
        return
    if walk.text(operator) in _LOGICAL:
        walk.inferred.assignment(node, value)
    else:
        walk.inferred.call(node.start_byte, node.end_byte)


def _unary(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    target = node.child_by_field_name("argument")
    if node.children[0].type == "delete" and target is not None:
        walk.sites.deletion(node, target)
    children(walk, node, context)


def _destructured(
    walk: SyntaxWalk, target: Node | None, value: Node | None, at: int | None = None
) -> None:
    if target is not None and value is not None:
        walk.sites.pattern(target, value, at=at)


# --- functions --------------------------------------------------------------------------------


def _function_declaration(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    name = node.child_by_field_name("name")
    if name is not None:
        context.scope.declared.add(walk.name(name))
    _enter(walk, node, context, walk.statement)


def _function_expression(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    # The name of a function expression is declared inside of it alone.
    inner = _enter(walk, node, context, walk.statement)
    name = node.child_by_field_name("name")
    if name is not None:
        inner.declared.add(walk.name(name))


def _method(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    walk.push(node.child_by_field_name("name"), context.as_value())
    _enter(walk, node, context, walk.statement)


def _arrow(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    _enter(walk, node, context, _arrow_state(walk, node) if walk.has_dollars else walk.statement)


def _arrow_state(walk: SyntaxWalk, node: Node) -> LazyState:
    parameter = node.child_by_field_name("parameter")
    listed = node.child_by_field_name("parameters")
    if listed is not None and listed.named_child_count == 1:
        parameter = listed.named_child(0)
    takes_state = parameter is not None and walk.has_text(parameter, b"state")
    return LazyState() if takes_state else LazyState(error=IN_FUNCTION)


def _enter(
    walk: SyntaxWalk, node: Node, context: NodeContext, lazy: LazyState
) -> Scope[StateReference]:
    """Queue a function's parameters and body; ``lazy`` applies if its body is an expression."""
    scope = walk.scope(context.scope)
    is_named = node.child_by_field_name("name") is not None
    is_arrow = node.type == "arrow_function"
    # V8 takes it for one that is called at once.
    is_eager = not is_arrow and node.id in walk.in_parentheses
    is_open, is_named = is_arrow or is_eager, is_named or is_eager
    walk.inferred.function(node.start_byte, node.end_byte, is_open=is_open, is_named=is_named)
    function = Function(scope, can_await=any(child.type == "async" for child in node.children))
    single = node.child_by_field_name("parameter")
    if single is not None:
        scope.declared.add(walk.name(single))
    else:
        parameters = node.child_by_field_name("parameters")
        for parameter in parameters.named_children if parameters is not None else ():
            target = parameter.child_by_field_name("left") or parameter
            start = parameters.start_byte if parameters is not None else None
            walk.sites.pattern(target, "undefined", "parameter", start)
            # Those of an arrow function have inferred names.
            if not is_arrow:
                walk.parameter_defaults.add(parameter.id)
        walk.push(parameters, NodeContext(scope, function, lazy, scope))
    body = node.child_by_field_name("body")
    if body is not None and body.type == "statement_block":
        children(walk, body, NodeContext(scope, function, walk.statement))
    else:
        walk.push(body, NodeContext(scope, function, lazy))
    return scope


def _parenthesized(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    walk.in_parentheses.update(child.id for child in node.named_children)
    children(walk, node, context)


# --- blocks and classes -----------------------------------------------------------------------


def _block(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    children(walk, node, NodeContext(walk.scope(context.scope), context.function, walk.statement))


def _for_in(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    inner = NodeContext(walk.scope(context.scope), context.function, walk.statement)
    kind = node.child_by_field_name("kind")
    target = inner
    if kind is not None:
        target = inner.with_binding(context.function.scope if kind.type == "var" else inner.scope)
    right = node.child_by_field_name("right")
    left = node.child_by_field_name("left")
    if left is not None:
        walk.sites.pattern(left, ".for", at=None if kind is None else left.end_byte - 1)
    walk.push(left, target)
    walk.push(right, inner)
    walk.push(node.child_by_field_name("body"), inner)
    if any(child.type == "await" for child in node.children):
        walk.check_await(node.start_byte, context)
    operator = node.child_by_field_name("operator")
    if right is not None and operator is not None and operator.type == "of":
        walk.sites.iteration(right)


def _catch(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    inner = NodeContext(walk.scope(context.scope), context.function, walk.statement)
    parameter = node.child_by_field_name("parameter")
    if parameter is not None:
        walk.sites.pattern(parameter, ".catch")
    walk.push(parameter, inner.with_binding(inner.scope))
    walk.push(node.child_by_field_name("body"), inner)


def _class(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    name = node.child_by_field_name("name")
    inner = NodeContext(
        walk.scope(context.scope), context.function, context.lazy, None, context.operation
    )
    if name is not None:
        declares = context if node.type == "class_declaration" else inner
        declares.scope.declared.add(walk.name(name))
    for child in node.named_children:
        if name is None or child.start_byte != name.start_byte:
            walk.push(child, inner)
    body = node.child_by_field_name("body")
    if body is not None:
        walk.inferred.properties(body)


def _field(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    scope = walk.scope(context.scope)
    walk.push(node.child_by_field_name("property"), context)
    # A field's value is evaluated in a function of its own, once per object.
    value = node.child_by_field_name("value")
    walk.push(value, NodeContext(scope, Function(scope), walk.statement))


def _static_block(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    scope = walk.scope(context.scope)
    children(walk, node, NodeContext(scope, Function(scope), walk.statement))


HANDLERS: Final[dict[str, Handler]] = {
    "identifier": _identifier,
    "shorthand_property_identifier": _shorthand,
    "shorthand_property_identifier_pattern": _shorthand,
    "member_expression": _member,
    "subscript_expression": _member,
    "assignment_pattern": _default_of,
    "object_assignment_pattern": _default_of,
    "object": _object,
    "object_pattern": _object_pattern,
    "computed_property_name": _computed,
    "lexical_declaration": _declaration,
    "variable_declaration": _declaration,
    "using_declaration": _declaration,
    "assignment_expression": _assignment,
    "augmented_assignment_expression": _update,
    "update_expression": _update,
    "unary_expression": _unary,
    "function_declaration": _function_declaration,
    "generator_function_declaration": _function_declaration,
    "function_expression": _function_expression,
    "generator_function": _function_expression,
    "method_definition": _method,
    "arrow_function": _arrow,
    "parenthesized_expression": _parenthesized,
    "statement_block": _block,
    "switch_body": _block,
    "for_statement": _block,
    "for_in_statement": _for_in,
    "catch_clause": _catch,
    "class_declaration": _class,
    "class": _class,
    "field_definition": _field,
    "class_static_block": _static_block,
    **dict.fromkeys(
        ("comment", "html_comment", "undefined", "number", "string", "regex", "property_identifier",
         "private_property_identifier", "statement_identifier", "this", "super", "true", "false",
         "null", "string_fragment", "escape_sequence", "empty_statement"),
        ignore,
    ),
}  # fmt: skip
