"""Compiler of jobs and edge conditions to the code that a run's process executes.

- lazy state: ``get($.data.url)`` becomes ``get(state => state.data.url)``;
- promises: ``op(...).then(f)`` becomes ``$worker.defer(op(...), f)``;
- exports, imports, ``import()`` and ``import.meta``, which a function's body cannot hold, become
  members of ``$worker``;
- top-level operations: ``fn(...)`` becomes ``$worker.op(() => fn(...))``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from worker.compiler import bindings, operations
from worker.compiler.compiled_job import CompiledJob
from worker.compiler.edits import ColumnCounter, Edits
from worker.compiler.scope import resolve
from worker.compiler.syntax import (
    check_expression,
    check_module,
    encode_source,
    parse,
    with_line_feeds,
)
from worker.compiler.top_level import TopLevel
from worker.compiler.visitor import LazyState, SyntaxWalk
from worker.errors import PlanError

if TYPE_CHECKING:
    from tree_sitter import Node


_HANDLERS: Final = bindings.HANDLERS | operations.HANDLERS


def compile_job(source: str) -> CompiledJob:
    """Compile a job's source. Raises ``PlanError`` (SyntaxError) with line and column, from 1."""
    source = with_line_feeds(source)
    text = encode_source(source, "SyntaxError")
    root = parse(text)
    # The parser has errors on some valid sources: the engine decides.
    if root.has_error:
        check_module(source)
    top = TopLevel()
    walk = SyntaxWalk(text)
    top.start(walk, root)
    walk.run(_HANDLERS)
    if walk.needs_engine_check:
        check_module(source)
    resolve(walk.scopes)
    _write_lazy_state(walk)
    _write_operations(walk)
    if top.imports or top.hashbang:
        walk.edits.head(top.hashbang, b" ".join(top.imports))
    return _compiled(walk, top)


def _write_lazy_state(walk: SyntaxWalk) -> None:
    """Replace each undeclared ``$`` by the state."""
    wraps: set[LazyState] = set()
    # In the order of the source: the first error is the one reported.
    for offset, lazy in sorted(walk.top.scope.dollars, key=lambda dollar: dollar[0]):
        if lazy.error:
            raise walk.error(lazy.error, offset)
        walk.edits.replace(offset, offset + 1, b"state")
        if lazy.end:
            wraps.add(lazy)
    for lazy in wraps:
        _write_arrow(walk.edits, lazy)
        walk.inferred.function(lazy.start, lazy.end, is_open=True, is_named=False)


def _write_arrow(edits: Edits, lazy: LazyState) -> None:
    arrow = b"async state => " if lazy.asynchronous else b"state => "
    # Without parentheses, an object after an arrow would be a block.
    is_object = edits.source.startswith(b"{", lazy.start)
    before, after = (arrow + b"(", b")") if is_object else (arrow, b"")
    edits.wrap(lazy.start, lazy.end, before, after)


def _write_operations(walk: SyntaxWalk) -> None:
    for operation in walk.operations:
        thunk = b"async () => " if operation.asynchronous else b"() => "
        walk.edits.wrap(operation.start, operation.end, b"$worker.op(" + thunk, b")")


def _compiled(walk: SyntaxWalk, top: TopLevel) -> CompiledJob:
    edited = walk.edits.apply()
    scope = walk.top.scope
    return CompiledJob(
        body=edited.body.decode() + _collected(top.exports),
        positions=edited.positions(),
        free=_names(scope.used),
        free_calls=_names(scope.called),
        sites=walk.sites.located(edited),
        operations=tuple(_operations(walk)),
        exports=_names(set(top.exports)),
        inferred=tuple(_inferred(walk)),
    )


def _inferred(walk: SyntaxWalk) -> Iterator[tuple[int, int]]:
    operations = [(operation.start, operation.end) for operation in walk.operations]
    columns = ColumnCounter(walk.source)
    line, counted = 1, 0
    for offset in walk.inferred.starts_and_ends(operations):
        line, counted = line + walk.source.count(b"\n", counted, offset), offset
        yield line, columns.column(offset)


def _collected(exports: Mapping[bytes, bytes]) -> str:
    """Write the end of a body, which hands over what the source exports."""
    members = [f"{json.dumps(name.decode())}: {local.decode()}" for name, local in exports.items()]
    default = exports.get(b"default")
    handed = f"\n;$worker.exported = {{{', '.join(members)}}};" if members else ""
    return handed + (f"$worker.default = {default.decode()};" if default else "")


def _operations(walk: SyntaxWalk) -> Iterator[tuple[int, str]]:
    line, counted = 1, 0
    for operation in sorted(walk.operations, key=lambda operation: operation.start):
        line += walk.source.count(b"\n", counted, operation.start)
        counted = operation.start
        yield line, operation.name


def _names(names: set[bytes]) -> tuple[str, ...]:
    return tuple(sorted(name.decode() for name in names))


def compile_condition(expression: str) -> str:
    """Return the text of an edge's condition, without a trailing ``;``.

    Raises ``PlanError`` (EdgeConditionError) unless it is exactly one JavaScript expression.
    """
    text = encode_source(expression, "EdgeConditionError")
    root = parse(text)
    if b"import" in text and _has_node(root, "import"):
        raise PlanError("a condition cannot import modules", type="EdgeConditionError")
    if root.has_error or _has_jsx(text, root):
        stripped = expression.strip().removesuffix(";")
        check_expression(stripped)
        return stripped
    # Most conditions are simple: the parser's tree is enough, and the engine is not needed.
    statements = [node for node in root.named_children if not _is_comment(node)]
    if len(statements) != 1 or statements[0].type != "expression_statement":
        types = ", ".join(node.type.replace("_", " ") for node in statements[:3]) or "nothing"
        raise PlanError(
            f"found {types}, expected one JavaScript expression such as state.data.age > 5",
            type="EdgeConditionError",
        )
    value = next(node for node in statements[0].named_children if not _is_comment(node))
    return text[value.start_byte : value.end_byte].decode()


def _is_comment(node: Node) -> bool:
    return node.type in ("comment", "html_comment")


def _has_jsx(text: bytes, root: Node) -> bool:
    # The parser accepts JSX, which JavaScript does not have.
    return b"<" in text and _has_node(root, "jsx_")


def _has_node(root: Node, prefix: str) -> bool:
    """Return True where the type of a node below the root begins with ``prefix``."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.is_named and node.type.startswith(prefix):
            return True
        waiting += node.named_children
    return False
