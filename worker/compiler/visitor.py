"""Walk over a job's syntax tree: the context of each node, and what the walk collects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from worker.compiler.edits import Edits, Positions
from worker.compiler.error_sites import ErrorSites
from worker.compiler.inferred_names import InferredNames
from worker.compiler.scope import Scope
from worker.compiler.syntax import error_at
from worker.compiler.syntax_messages import AWAIT
from worker.errors import PlanError

if TYPE_CHECKING:
    from tree_sitter import Node

IN_STATEMENT: Final = (
    "$ stands in a statement: it is the state only inside the arguments of an operation, "
    "write state => state instead"
)


@dataclass(slots=True, eq=False)
class LazyState:
    """Meaning of ``$`` in a context: an ``error``, or the state of a function.

    The function is to wrap the argument ``start:end``; an empty range is in one already.
    """

    error: str = ""
    start: int = 0
    end: int = 0
    outer: LazyState | None = None
    asynchronous: bool = False


@dataclass(slots=True, eq=False)
class Operation:
    """Range of a top-level operation, the name that it calls, and whether it awaits."""

    start: int
    end: int
    name: str
    asynchronous: bool = False


StateReference = tuple[int, LazyState]


@dataclass(slots=True, eq=False)
class Function:
    """Innermost function of a node, with the scope of its ``var``, and whether it can await."""

    scope: Scope[StateReference]
    can_await: bool = False


@dataclass(slots=True, eq=False)
class NodeContext:
    """Context of a node: what surrounds it.

    ``binding`` is the scope that names are declared in (None: names are read). With ``deferring``,
    ``.then`` and ``.catch`` belong to operations.
    """

    scope: Scope[StateReference]
    function: Function
    lazy: LazyState
    binding: Scope[StateReference] | None = None
    operation: Operation | None = None
    deferring: bool = False

    def with_binding(self, scope: Scope[StateReference]) -> NodeContext:
        return NodeContext(self.scope, self.function, self.lazy, scope, self.operation)

    def as_value(self) -> NodeContext:
        """Return the context of a value: it reads names, and its ``.then`` is that of a promise."""
        if self.binding is None and not self.deferring:
            return self
        return NodeContext(self.scope, self.function, self.lazy, None, self.operation)

    def with_deferring(self, operation: Operation | None = None) -> NodeContext:
        return NodeContext(self.scope, self.function, self.lazy, None, operation, True)

    def mark_asynchronous(self) -> None:
        """Make all functions that will wrap the node asynchronous."""
        if self.operation is not None:
            self.operation.asynchronous = True
        lazy: LazyState | None = self.lazy
        while lazy is not None and not lazy.asynchronous:
            lazy.asynchronous = True
            lazy = lazy.outer


class SyntaxWalk:
    """Stack and results of a walk; a handler per node type does the work."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.edits = Edits(source)
        self.positions = Positions(source)
        self.sites = ErrorSites(source, self.positions)
        self.inferred = InferredNames()
        self.operations: list[Operation] = []
        self.needs_engine_check = False
        # What the handler of a node records for nodes below it, by their ids: a node finds the one
        # around it only by a search from the root, whose time is the depth.
        self.hangs_on_state: dict[int, bool] = {}
        self.spread_into: dict[int, Node] = {}
        self.in_parentheses: set[int] = set()
        self.parameter_defaults: set[int] = set()
        # Few sources use $: without one, no argument needs a context of its own.
        self.has_dollars = b"$" in source
        self.statement = LazyState(error=IN_STATEMENT)
        self.top = Function(Scope(), can_await=True)
        self.scopes = [self.top.scope]
        # A stack instead of recursion: sources can be nested more deeply than Python's limit. The
        # order of the walk does not matter, as scopes, edits and marks are sorted afterwards.
        self._stack: list[tuple[Node, NodeContext]] = []

    def run(self, handlers: Mapping[str, Handler]) -> None:
        stack = self._stack
        while stack:
            node, context = stack.pop()
            handlers.get(node.type, children)(self, node, context)

    def push(self, node: Node | None, context: NodeContext) -> None:
        if node is not None:
            self._stack.append((node, context))

    def scope(self, parent: Scope[StateReference]) -> Scope[StateReference]:
        scope = Scope(parent)
        self.scopes.append(scope)
        return scope

    def text(self, node: Node) -> bytes:
        return self.source[node.start_byte : node.end_byte]

    def has_text(self, node: Node, text: bytes) -> bool:
        # No copy of a longer one: patterns of functions in each other would be copied each time.
        return node.end_byte - node.start_byte == len(text) and self.text(node) == text

    def name(self, node: Node) -> bytes:
        text = self.source[node.start_byte : node.end_byte]
        return _unescaped(text) if b"\\" in text else text

    def check_await(self, offset: int, context: NodeContext) -> None:
        """Raise ``PlanError`` where an await stands in a function that is not asynchronous."""
        if not context.function.can_await:
            raise self.error(AWAIT, offset)
        context.mark_asynchronous()

    def error(self, message: str, offset: int) -> PlanError:
        """Return a SyntaxError at an offset in bytes."""
        before = self.source[:offset].decode(errors="ignore")
        return error_at(message, self.source.decode(), len(before), "SyntaxError")


Handler = Callable[[SyntaxWalk, "Node", NodeContext], None]


def children(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    for child in node.named_children:
        walk.push(child, context)


def ignore(walk: SyntaxWalk, node: Node, context: NodeContext) -> None:
    pass


def _unescaped(name: bytes) -> bytes:
    """Decode the Unicode escapes of a name, ``\\u0061`` and ``\\u{61}``."""
    first, *escapes = name.split(b"\\u")
    return first + b"".join(map(_character, escapes))


def _character(escape: bytes) -> bytes:
    if escape.startswith(b"{"):
        digits, _, rest = escape[1:].partition(b"}")
    else:
        digits, rest = escape[:4], escape[4:]
    return chr(int(digits, 16)).encode("utf-8", "replace") + rest
