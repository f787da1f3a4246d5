"""Top-level statements of a job: operations, imports and exports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from worker.compiler.operations import is_operation, strip_parentheses
from worker.compiler.visitor import NodeContext, Operation, SyntaxWalk

if TYPE_CHECKING:
    from tree_sitter import Node

_DECLARATIONS = ("lexical_declaration", "variable_declaration")
_ANONYMOUS = ("class", "function_expression", "generator_function")


class TopLevel:
    """Starts the walk at each statement.

    Collects ``imports``, to be hoisted in this order, and ``exports``, local by exported names.
    """

    def __init__(self) -> None:
        self.imports: list[bytes] = []
        self.exports: dict[bytes, bytes] = {}
        self.hashbang = 0

    def start(self, walk: SyntaxWalk, root: Node) -> None:
        context = NodeContext(walk.top.scope, walk.top, walk.statement)
        for statement in root.named_children:
            self._start(walk, statement, context)

    def _start(self, walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
        match node.type:
            case "expression_statement":
                _statement(walk, node, context)
            case "import_statement":
                self._import(walk, node)
            case "export_statement":
                self._export(walk, node, context)
            case "hash_bang_line":
                self.hashbang = node.end_byte
            case kind:
                walk.push(node, context.with_deferring() if kind in _DECLARATIONS else context)

    def _import(self, walk: SyntaxWalk, node: Node) -> None:
        source = node.child_by_field_name("source")
        if source is None:
            raise walk.error("Unexpected token in an import", node.start_byte)
        clauses = [child for child in node.named_children if child.type == "import_clause"]
        names = [_imported(walk, clause) for clause in clauses]
        line, column = walk.positions.line(node.start_byte), walk.positions.column(node.start_byte)
        place = f", {line}, {column}, ".encode()
        listed = b"[" + b", ".join(name for clause in names for name in clause) + b"]"
        module = b"$worker.import(" + walk.text(source) + place + listed + b");"
        self.imports.append(_bindings(walk, clauses[0], module) if clauses else module)
        # The semicolon keeps the statement before it from continuing after the import.
        walk.edits.replace(node.start_byte, node.end_byte, b";")

    def _export(self, walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
        declaration = node.child_by_field_name("declaration")
        if node.child_by_field_name("source") is None:
            if declaration is not None:
                self.exports |= {name: name for name in _declared_names(walk, declaration)}
            for clause in node.named_children:
                if clause.type == "export_clause":
                    self.exports |= dict(_exported(walk, clause))
            # An exported declaration is a default one where that word stands before it.
            if any(child.type == "default" for child in node.children):
                self.exports.pop(b"default", None)
                for name in _declared_names(walk, declaration) if declaration is not None else ():
                    self.exports.pop(name, None)
        _export(walk, node, context)


def _declared_names(walk: SyntaxWalk, declaration: Node) -> Iterator[bytes]:
    if declaration.type not in _DECLARATIONS:
        name = declaration.child_by_field_name("name")
        if name is not None:
            yield walk.text(name)
        return
    waiting = [d.child_by_field_name("name") for d in declaration.named_children]
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        if node.type in ("identifier", "shorthand_property_identifier_pattern"):
            yield walk.text(node)
        elif node.type in ("object_assignment_pattern", "assignment_pattern"):
            waiting.append(node.child_by_field_name("left"))
        elif node.type == "pair_pattern":
            waiting.append(node.child_by_field_name("value"))
        else:
            waiting += node.named_children


def _exported(walk: SyntaxWalk, clause: Node) -> Iterator[tuple[bytes, bytes]]:
    """Yield the exported and the local name of each item of ``export {a as b}``."""
    for item in clause.named_children:
        name, alias = item.child_by_field_name("name"), item.child_by_field_name("alias")
        if item.type == "export_specifier" and name is not None:
            walk.top.scope.used.add(walk.name(name))
            exported = walk.text(alias or name).strip(b"'\"")
            yield exported, walk.text(name)


def _statement(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    """Handle an expression statement, which is an operation if it is a plain call."""
    expression = node.named_child(0)
    call = strip_parentheses(expression)
    if expression is None or call is None or call.type != "call_expression":
        return walk.push(node, context)
    if not is_operation(walk, call):
        return walk.push(node, context)
    operation = Operation(expression.start_byte, expression.end_byte, _operation_name(walk, call))
    walk.operations.append(operation)
    return walk.push(expression, context.with_deferring(operation))


def _operation_name(walk: SyntaxWalk, call: Node) -> str:
    callee = call.child_by_field_name("function")
    if callee is None:
        return ""
    if callee.type == "identifier":
        return walk.text(callee).decode()
    # A chain of .then and .catch becomes a call of defer, also on OpenFn.
    name = callee.child_by_field_name("property")
    return "defer" if name is not None and walk.text(name) in (b"then", b"catch") else ""


def _bindings(walk: SyntaxWalk, clause: Node, module: bytes) -> bytes:
    """Write ``const {...} = module``, preceded by the namespace if the import names it."""
    names: list[bytes] = []
    namespace = b""
    for child in clause.named_children:
        match child.type:
            case "identifier":
                names.append(b"default: " + _declared(walk, child))
            case "namespace_import":
                namespace = b"".join(_declared(walk, name) for name in child.named_children)
            case "named_imports":
                specifiers = (n for n in child.named_children if n.type == "import_specifier")
                names += [_specifier(walk, specifier) for specifier in specifiers]
    return _destructured(names, namespace, module)


def _destructured(names: list[bytes], namespace: bytes, module: bytes) -> bytes:
    pattern = b"{" + b", ".join(names) + b"}"
    if not namespace:
        return b"const " + pattern + b" = " + module
    rest = b" const " + pattern + b" = " + namespace + b";" if names else b""
    return b"const " + namespace + b" = " + module + rest


def _imported(walk: SyntaxWalk, clause: Node) -> list[bytes]:
    """Return the names that an import takes from its module, as texts of JavaScript."""
    names: list[bytes] = []
    for child in clause.named_children:
        if child.type == "identifier":
            names.append(b'"default"')
        elif child.type == "named_imports":
            specifiers = (n for n in child.named_children if n.type == "import_specifier")
            names += [walk.text(n.child(0) or n).strip(b"'\"") for n in specifiers]
    return [name if name.startswith(b'"') else b'"' + name + b'"' for name in names]


def _specifier(walk: SyntaxWalk, node: Node) -> bytes:
    alias = node.child_by_field_name("alias")
    name = node.child(0)
    if alias is None or name is None:
        return _declared(walk, node)
    return walk.text(name) + b": " + _declared(walk, alias)


def _declared(walk: SyntaxWalk, node: Node) -> bytes:
    walk.top.scope.declared.add(walk.name(node))
    return walk.text(node)


def _export(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    source = node.child_by_field_name("source")
    declaration = node.child_by_field_name("declaration")
    # The exported values are collected at the end of the body.
    if source is not None:
        module = b"$worker.import(" + walk.text(source) + b");"
        walk.edits.replace(node.start_byte, node.end_byte, module)
    elif any(child.type == "default" for child in node.children):
        _export_default(walk, node, declaration, context)
    elif declaration is not None:
        walk.edits.replace(node.start_byte, declaration.start_byte, b"")
        walk.push(declaration, context.with_deferring())
    else:
        walk.edits.replace(node.start_byte, node.end_byte, b";")


def _export_default(
    walk: SyntaxWalk, node: Node, declaration: Node | None, context: NodeContext
) -> None:
    value = node.child_by_field_name("value") or declaration
    if value is None:
        raise walk.error("Unexpected token in an export", node.start_byte)
    name = value.child_by_field_name("name") if declaration is not None else None
    if name is not None:
        walk.edits.replace(node.start_byte, value.start_byte, b"")
        after = b";$worker.default = " + walk.text(name) + b";"
        walk.edits.replace(value.end_byte, value.end_byte, after)
    else:
        walk.edits.replace(node.start_byte, value.start_byte, b"$worker.default = ")
        _end_declaration(walk, value)
    walk.push(value, context.with_deferring())


def _end_declaration(walk: SyntaxWalk, value: Node) -> None:
    """End an exported function or class with a semicolon."""
    # It was a declaration and is an expression now: parentheses after it would call it.
    first = value
    while first.type not in _ANONYMOUS and first.children:
        first = first.children[0]
    if first.type in _ANONYMOUS:
        walk.edits.replace(first.end_byte, first.end_byte, b";")
