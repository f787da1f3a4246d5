"""Search for states that give the conditions of a step every combination of values.

States are built from the paths and the values in the text of the conditions, and the conditions
are evaluated over them. So every witness is real: a case that returns it takes these edges. That
no state was found for a value does not prove that there is none.
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

# States that are tried for the conditions of one step. Conditions that need more mostly need a
# state that their text does not show.
ATTEMPTS = 1500

# One message to the sandbox evaluates this many: a round trip costs more than an evaluation.
BATCH = 150
# Paths, and values, of one step's conditions. More would leave too few attempts for each.
_PLENTY = 24
_MISSING: Any = object()
# Tried at every path, whatever the conditions compare it with: a check for truth or for null.
_PLAIN: tuple[Any, ...] = (_MISSING, True, False, None, 0, 1, -1, "x", "", {}, [], [{}])
# Names at the end of a path that belong to a text or a list, and are no keys of the state.
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
    """State (JSON text) with what it makes of a step's open edges over it.

    A condition that throws ends the results; ``throws`` is its index among the edges.
    """

    state: str
    taken: tuple[bool, ...]
    throws: int | None = None


# Evaluates a step's open edges over states, each JSON text.
Evaluate = Callable[[Sequence[str]], Sequence[EdgesEvaluated]]


def find_witnesses(
    step: Step, failure: Mapping[str, Any] | None, evaluate: Evaluate
) -> list[Witness]:
    """Search for a witness of every combination of results, the plainest states first.

    ``failure`` is the step's entry under ``errors`` where it failed. The result is empty where the
    conditions are over a limit whatever the state is.
    """
    witnesses: dict[tuple[object, ...], Witness] = {}
    expressions = [edge for edge in step.open_edges if edge.kind is EdgeKind.EXPRESSION]
    combinations = 2 ** len(expressions)
    states = candidate_states(expressions, step.id, failure)
    while batch := list(itertools.islice(states, BATCH)):
        evaluated = evaluate(batch)
        # Each batch over a limit costs a process and its time limit: one is enough to know.
        if all(map(over_limit, evaluated)):
            break
        for state, result in zip(batch, evaluated, strict=False):
            if not over_limit(result):
                throws = len(result.taken) if result.error else None
                witness = Witness(state=state, taken=result.taken, throws=throws)
                # A run ends where a condition throws, whatever the results before it were.
                witnesses.setdefault((throws,) if result.error else (result.taken,), witness)
        if sum(witness.throws is None for witness in witnesses.values()) >= combinations:
            break
    return list(witnesses.values())


def over_limit(result: EdgesEvaluated) -> bool:
    return result.error is not None and result.error.type != "EdgeConditionError"


@dataclass(slots=True)
class _Vocabulary:
    """Paths below the state, and literal values, in the text of conditions."""

    # Dicts for their order, so that the search is the same every time. The values are by their
    # repr, as lists cannot be keys.
    paths: dict[tuple[str, ...], None] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def candidate_states(
    edges: Sequence[Edge], step: str, failure: Mapping[str, Any] | None
) -> Iterator[str]:
    """Generate the states to try for conditions of a step, each once, the plainest first."""
    vocabulary = _Vocabulary()
    for edge in edges:
        _collect(parse(edge.expression.encode()), vocabulary)
    values = [*_PLAIN, *vocabulary.values.values()][:_PLENTY]
    paths = [path for path in vocabulary.paths if path][:_PLENTY]
    tried: set[str] = set()
    combinations = _combinations(len(paths), values)
    for combination in itertools.islice(combinations, ATTEMPTS):
        state = _ended(_state(dict(zip(paths, combination, strict=True))), step, failure)
        if state is not None and (text := dumps(state)) not in tried:
            tried.add(text)
            yield text


def _ended(
    state: dict[str, Any], step: str, failure: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Add the error of a step that failed. Return ``None`` for a state that no run can reach."""
    errors = state.get("errors")
    others = {**errors} if isinstance(errors, dict) else {}
    if failure is not None:
        return {**state, "errors": {**others, step: failure}}
    # A step that succeeded has no error of its own.
    return None if truthy(others.get(step)) else state


def _combinations(count: int, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Generate all combinations where they are few, else a selection without end."""
    if len(values) ** count <= ATTEMPTS:
        yield from itertools.product(values, repeat=count)
        return
    # One value at every path, then one path apart from the rest: most conditions that compare
    # a single path are decided by these. The rest is random.
    yield from ((value,) * count for value in values)
    for place, value, rest in itertools.product(range(count), values, (_MISSING, {})):
        yield tuple(value if at == place else rest for at in range(count))
    generator = random.Random(0)  # noqa: S311 -- the same states every time
    while True:
        yield tuple(generator.choice(values) for _ in range(count))


def _state(placed: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    state: dict[str, Any] = {"data": {}}
    # Short paths first, so that a value at `data` does not replace one at `data.x`.
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
        # A copy: the same list may stand at another path, and a value may be put below this one.
        at[path[-1]] = copy.deepcopy(value)


# --- reading a condition ------------------------------------------------------------------------


def _collect(node: Node, vocabulary: _Vocabulary) -> None:
    if node.type in ("member_expression", "subscript_expression"):
        path = _path(node)
        if path:
            _add_path(path, vocabulary)
    elif node.type == "number":
        _add_number(_text(node), vocabulary)
    elif node.type == "string":
        text = _text(node)[1:-1]
        vocabulary.values[repr(text)] = text
        # For `list.includes("x")`.
        vocabulary.values[repr([text])] = [text]
    for child in node.named_children:
        _collect(child, vocabulary)


def _add_path(path: tuple[str, ...], vocabulary: _Vocabulary) -> None:
    while path and path[-1] in _METHODS:
        path = path[:-1]
    if path:
        vocabulary.paths[path] = None


def _add_number(text: str, vocabulary: _Vocabulary) -> None:
    try:
        value = float(text.replace("_", ""))
    except ValueError:
        return
    # Both sides of a comparison with it.
    for near in (value, value + 1, value - 1):
        plain: Any = int(near) if near.is_integer() else near
        vocabulary.values[repr(plain)] = plain
    # Short lists too, for comparisons of a length.
    if value.is_integer() and 0 <= value <= 20:
        for length in (int(value), int(value) + 1):
            vocabulary.values[f"list of {length}"] = [1] * length


def _path(node: Node) -> tuple[str, ...] | None:
    """Return ``("data", "x")`` for ``state.data.x``; ``None`` for a path outside the state."""
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
