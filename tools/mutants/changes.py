"""Changes of Python source, by its syntax tree."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.LShift: ast.RShift,
}  # fmt: skip
# Of a class, the keywords (frozen, kw_only) declare as its decorators do.
ANNOTATIONS = ("annotation", "returns", "decorator_list", "type_params")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module: its name, the line with its text, the change, and its source."""

    module: str
    line: int
    text: str
    change: str
    source: str

    @property
    def id(self) -> str:
        """The name of the mutant among the equal ones: it holds while the line's text does."""
        return f"{self.module}: {self.change} in: {self.text}"


def mutants(module: str, source: str, count: int, seed: int) -> list[Mutant]:
    """Return so many mutants of a module, chosen by a seed."""
    total = sum(1 for _ in _changes(ast.parse(source)))
    numbers = random.Random(f"{seed} {module}").sample(range(total), min(count, total))
    return [_mutant(module, source, number) for number in sorted(numbers)]


def _mutant(module: str, source: str, number: int) -> Mutant:
    # The tree is changed in place, so each mutant has one of its own.
    tree = ast.parse(source)
    for at, (line, change, apply) in enumerate(_changes(tree)):
        if at == number:
            apply()
            text = source.splitlines()[line - 1].strip()
            changed = ast.unparse(ast.fix_missing_locations(tree))
            return Mutant(module, line, text, change, changed)
    raise AssertionError(number)


Change = tuple[int, str, Callable[[], None]]


def _changes(tree: ast.AST) -> Iterator[Change]:
    """Yield each change that can be made to a tree, with a function that makes it."""
    for node in _code(tree):
        match node:
            case ast.Compare():
                yield from _comparison(node)
            case ast.BoolOp():
                yield from _boolean(node)
            case ast.UnaryOp(op=ast.Not()):
                yield node.lineno, "not dropped", _setter(node, "op", ast.UAdd())
            case ast.BinOp() if type(node.op) in OPERATORS:
                other = OPERATORS[type(node.op)]
                name = f"{type(node.op).__name__} to {other.__name__}"
                yield node.lineno, name, _setter(node, "op", other())
            case ast.Constant(value=bool(value)):
                yield node.lineno, f"{value} to {not value}", _setter(node, "value", not value)
            case ast.Constant(value=int(number) | float(number)):
                yield node.lineno, f"{number} to {number + 1}", _setter(node, "value", number + 1)
            case ast.Return(value=ast.Constant(value=None)):
                pass
            case ast.Return(value=ast.expr() as value):
                text = f"return {ast.unparse(value)[:30]} to None"
                yield node.lineno, text, _setter(node, "value", ast.Constant(None))
            case ast.Call(func=ast.Name("max" | "min")):
                pass  # their order does not matter
            case ast.Call(args=[ast.expr() as first, ast.expr() as second, *rest]):
                text = f"arguments of {ast.unparse(node.func)[:30]} swapped"
                yield node.lineno, text, _setter(node, "args", [second, first, *rest])
            case ast.ExceptHandler(type=ast.expr() as type_):
                text = f"except {ast.unparse(type_)[:30]} to ZeroDivisionError"
                yield node.lineno, text, _setter(node, "type", ast.Name("ZeroDivisionError"))
            case _:
                pass
        yield from _removals(node)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that are executed: no types, no decorators, no texts of documentation."""
    yield node
    for name, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        if name in ANNOTATIONS or (isinstance(node, ast.If) and _is_type_checking(node)):
            continue
        if name == "keywords" and isinstance(node, ast.ClassDef):
            continue
        for child in children:
            if isinstance(child, ast.AST):
                yield from _code(child)


def _is_type_checking(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _comparison(node: ast.Compare) -> Iterator[Change]:
    for index, operator in enumerate(node.ops):
        other = COMPARISONS[type(operator)]
        name = f"{type(operator).__name__} to {other.__name__}: {ast.unparse(node)[:40]}"
        changed: list[ast.cmpop] = [*node.ops[:index], other(), *node.ops[index + 1 :]]
        yield node.lineno, name, _setter(node, "ops", changed)


def _boolean(node: ast.BoolOp) -> Iterator[Change]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    text = ast.unparse(node)[:40]
    yield node.lineno, f"to {type(other).__name__}: {text}", _setter(node, "op", other)
    if len(node.values) > 2:
        for index in range(len(node.values)):
            rest = [*node.values[:index], *node.values[index + 1 :]]
            yield node.lineno, f"operand {index} dropped: {text}", _setter(node, "values", rest)


def _removals(node: ast.AST) -> Iterator[Change]:
    """Yield the removals of the statements in a block: calls, raises and changes of objects."""
    body = getattr(node, "body", None)
    if not isinstance(body, list) or isinstance(node, ast.Module | ast.ClassDef):
        return
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, [])
        for index, statement in enumerate(block):
            if _is_removable(statement):
                text = f"removed: {ast.unparse(statement)[:50]}".partition("\n")[0]
                changed = [*block[:index], ast.Pass(), *block[index + 1 :]]
                yield statement.lineno, text, _setter(node, name, changed)


def _is_removable(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name("assert_never"))):
            return False  # it is never reached
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.AugAssign():
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.Delete():
            return True
        case _:
            return False


def _setter(node: ast.AST, name: str, value: object) -> Callable[[], None]:
    if isinstance(node, ast.UnaryOp):
        # ``+x`` of a truth is a truth, but ``+x`` of an object is an error: bool() is neither.
        def drop() -> None:
            node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)

        return drop
    return lambda: setattr(node, name, value)
