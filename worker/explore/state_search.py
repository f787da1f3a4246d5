"""States that make conditions say what they can say: found by trying, never by reading minds.

What a condition looks at, and what it compares that with, stands in its text. States are made of
those, and the conditions themselves judge them. So every witness is real: a case that returns it
gets these verdicts. What no state was found for is not proven to be impossible, and is said.
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.compiler.syntax import parse
from worker.core.machine import EdgesEvaluated
from worker.core.scripted import truthy
from worker.util.json import dumps
from worker.workflow.model import Edge, EdgeKind, Step

if TYPE_CHECKING:
    from tree_sitter import Node

ATTEMPTS = 1500
"""How many states are tried for the conditions of one step."""

_BATCH = 150
_PLENTY = 24
_MISSING: Any = object()
_PLAIN: tuple[Any, ...] = (_MISSING, True, False, None, 0, 1, -1, "x", "", {}, [], [{}])
_METHODS = frozenset(
    {
        *("at", "concat", "endsWith", "every", "filter", "find", "findIndex", "flat", "forEach"),
        *("hasOwnProperty", "includes", "indexOf", "join", "keys", "length", "map", "match"),
        *("reduce", "replace", "slice", "some", "split", "startsWith", "test", "toLowerCase"),
        *("toString", "toUpperCase", "trim", "values"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A state, JSON text, and the verdicts on a step's open edges over it.

    A condition that throws ends the verdicts, and ``throws`` is its place among the edges.
    """

    state: str
    verdicts: tuple[bool, ...]
    throws: int | None = None


Ask = Callable[[Sequence[str]], Sequence[EdgesEvaluated]]


def witnesses(step: Step, failure: Mapping[str, Any] | None, ask: Ask) -> list[Witness]:
    """A witness for every combination of verdicts that was found, the plainest states first.

    ``failure`` is the step's entry under ``errors`` where it failed.
    """
    found: dict[tuple[object, ...], Witness] = {}
    expressions = [edge for edge in step.open_edges if edge.kind is EdgeKind.EXPRESSION]
    wanted = 2 ** len(expressions)
    states = _states(expressions, step.id, failure)
    while batch := list(itertools.islice(states, _BATCH)):
        answers = ask(batch)
        if all(one.error and one.error.type != "EdgeConditionError" for one in answers):
            break  # over a limit whatever the state is
        for state, judged in zip(batch, answers, strict=False):
            throws = len(judged.taken) if judged.error else None
            if judged.error is not None and judged.error.type != "EdgeConditionError":
                continue
            witness = Witness(state=state, verdicts=judged.taken, throws=throws)
            # One that throws is the same whatever the conditions before it said.
            found.setdefault((throws,) if judged.error else (judged.taken,), witness)
        if sum(one.throws is None for one in found.values()) >= wanted:
            break
    return list(found.values())


@dataclass(slots=True)
class _Seen:
    """What conditions look at: paths below the state, and the values that they name."""

    paths: dict[tuple[str, ...], None] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def _states(edges: Sequence[Edge], step: str, failure: Mapping[str, Any] | None) -> Iterator[str]:
    """States to try, each once."""
    seen = _Seen()
    for edge in edges:
        _look(parse(edge.expression.encode()), seen)
    values = [*_PLAIN, *seen.values.values()][:_PLENTY]
    paths = [path for path in seen.paths if path][:_PLENTY]
    tried: set[str] = set()
    combinations = _combinations(len(paths), values)
    for combination in itertools.islice(combinations, ATTEMPTS):
        state = _state(dict(zip(paths, combination, strict=True)))
        errors = state.get("errors")
        others = {**errors} if isinstance(errors, dict) else {}
        if failure is not None:
            state["errors"] = {**others, step: failure}
        elif truthy(others.get(step)):
            continue  # a step that succeeded has no error of its own
        text = dumps(state)
        if text not in tried:
            tried.add(text)
            yield text


def _combinations(count: int, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """All of them where they are few; else one value everywhere, one apart, and then by chance."""
    if len(values) ** count <= ATTEMPTS:
        yield from itertools.product(values, repeat=count)
        return
    yield from ((value,) * count for value in values)
    for place, value, rest in itertools.product(range(count), values, (_MISSING, {})):
        yield tuple(value if at == place else rest for at in range(count))
    chance = random.Random(0)  # noqa: S311 -- the same states every time
    while True:
        yield tuple(chance.choice(values) for _ in range(count))


def _state(placed: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    state: dict[str, Any] = {"data": {}}
    for path, value in sorted(placed.items(), key=lambda item: len(item[0])):
        _put(state, path, value)
    return state


def _put(state: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    at: Any = state
    for key in path[:-1]:
        below = at.get(key) if isinstance(at, dict) else None
        if not isinstance(below, dict):
            if value is _MISSING or not isinstance(at, dict):
                return
            below = at[key] = {}
        at = below
    if value is _MISSING:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = copy.deepcopy(value)  # what is put below it must not reach the others


# --- reading a condition ------------------------------------------------------------------------


def _look(node: Node, seen: _Seen) -> None:
    if node.type in ("member_expression", "subscript_expression"):
        path = _path(node)
        if path:
            _note(path, seen)
    elif node.type == "number":
        _number(_text(node), seen)
    elif node.type == "string":
        text = _text(node)[1:-1]
        seen.values[repr(text)] = text
        seen.values[repr([text])] = [text]
    for child in node.named_children:
        _look(child, seen)


def _note(path: tuple[str, ...], seen: _Seen) -> None:
    while path and path[-1] in _METHODS:
        path = path[:-1]
    if path:
        seen.paths[path] = None


def _number(text: str, seen: _Seen) -> None:
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        return
    for near in (value, value + 1, value - 1):
        plain: Any = int(near) if near.is_integer() else near
        seen.values[repr(plain)] = plain
    if value.is_integer() and 0 <= value <= 20:
        for length in (int(value), int(value) + 1):
            seen.values[f"list of {length}"] = [1] * length


def _path(node: Node) -> tuple[str, ...] | None:
    """``state.data.x`` as ``("data", "x")``; ``None`` for what does not begin at the state."""
    if node.type == "identifier":
        return () if _text(node) == "state" else None
    if node.type in ("parenthesized_expression", "call_expression"):
        return _path(node.named_children[0]) if node.named_children else None
    if node.type not in ("member_expression", "subscript_expression"):
        return None
    below = _path(node.child_by_field_name("object") or node)
    key = node.child_by_field_name("property") or node.child_by_field_name("index")
    if below is None or key is None:
        return None
    if key.type == "string":
        return (*below, _text(key)[1:-1])
    return (*below, _text(key)) if key.type == "property_identifier" else below


def _text(node: Node) -> str:
    return (node.text or b"").decode()
