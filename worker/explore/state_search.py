"""Search for states that give the conditions of a step every combination of values.

States are built from the paths and the values in the text of the conditions, and the conditions
are evaluated over them. So every witness is real: a case that returns it takes these edges. That
no state was found for a value does not prove that there is none.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
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

# One message to the sandbox evaluates so many: a round trip costs more than an evaluation. Most
# searches end with the first message, which is therefore small.
_FIRST_BATCH, _BATCH = 20, 150
# Paths, and values, of one step's conditions. More would leave too few attempts for each.
_PLENTY = 24
# The part of a condition that is read. Generated ones can be longer, and each part of a chain of
# properties is the end of a path: without limits they take minutes.
_MOST_NODES, _LONGEST_CHAIN = 5000, 30
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

    A condition that throws ends the results; ``throws`` is its index among the edges, and ``error``
    the message.
    """

    state: str
    taken: tuple[bool, ...]
    throws: int | None = None
    error: str = ""


# Evaluates a step's open edges over states, each JSON text.
Evaluate = Callable[[Sequence[str]], Sequence[EdgesEvaluated]]


def find_witnesses(
    step: Step, failure: Mapping[str, Any] | None, evaluate: Evaluate
) -> list[Witness]:
    """Search for a witness of every combination of results, the plainest states first.

    ``failure`` is the step's entry under ``errors`` where it failed. The result is empty where the
    conditions are over a limit whatever the state is.
    """
    witnesses: dict[Hashable, Witness] = {}
    expressions = [edge for edge in step.open_edges if edge.kind is EdgeKind.EXPRESSION]
    combinations = 2 ** len(expressions)
    tried = 0
    for batch in batches(candidate_states(expressions, step.id, failure)):
        evaluated = evaluate(batch)
        tried += len(batch)
        # Each batch over a limit costs a process and its time limit: one is enough to know.
        if all(map(over_limit, evaluated)):
            break
        for witness in witnesses_of(batch, evaluated):
            _keep(witnesses, witness)
        throwing = sum(witness.throws is not None for witness in witnesses.values())
        # A condition may throw for a later state; many never do.
        if len(witnesses) - throwing >= combinations and (throwing or tried >= _BATCH):
            break
    return list(witnesses.values())


def witnesses_of(states: Sequence[str], results: Sequence[EdgesEvaluated]) -> list[Witness]:
    """Return the first witness of every combination of results, out of these."""
    witnesses: dict[Hashable, Witness] = {}
    for state, result in zip(states, results, strict=False):
        if not over_limit(result):
            throws = len(result.taken) if result.error else None
            error = result.error.message if result.error else ""
            witness = Witness(state=state, taken=result.taken, throws=throws, error=error)
            _keep(witnesses, witness)
    return list(witnesses.values())


def _keep(witnesses: dict[Hashable, Witness], witness: Witness) -> None:
    """Keep the first witness of a combination, or one with the error of an unknown name."""
    # Another error may only mean that the state lacks data.
    before = witnesses.setdefault(_decision(witness), witness)
    if names_unknown(witness.error) and not names_unknown(before.error):
        witnesses[_decision(witness)] = witness


def names_unknown(error: str) -> bool:
    """Check for the error of a name that nothing defines, which no state can mend."""
    return "ReferenceError" in error


def _decision(witness: Witness) -> Hashable:
    # A run ends where a condition throws, whatever the results before it were.
    return witness.taken if witness.throws is None else witness.throws


def with_own_error(state: str, step: str, failure: Mapping[str, Any] | None) -> str:
    """Replace all ``errors`` of a state by that of a step that failed, or by none."""
    content = {key: value for key, value in json.loads(state).items() if key != "errors"}
    return dumps(content if failure is None else {**content, "errors": {step: failure}})


def batches(states: Iterator[str]) -> Iterator[list[str]]:
    """Split the states to try into messages to the sandbox."""
    size = _FIRST_BATCH
    while batch := list(itertools.islice(states, size)):
        yield batch
        size = _BATCH


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
    # Short paths first: a value at `data` leaves no place for one at `data.x`, and the last path
    # varies fastest.
    paths = sorted([path for path in vocabulary.paths if path][:_PLENTY], key=len)
    below = [[n for n, other in enumerate(paths) if _is_below(other, path)] for path in paths]
    tried: set[Hashable] = set()
    for combination in itertools.islice(_combinations(len(paths), values), ATTEMPTS):
        # Most combinations give a state that an earlier one gave: it is not built again.
        placed = _without_replaced(combination, below)
        if (key := tuple(map(id, placed))) in tried:
            continue
        tried.add(key)
        state = _ended(_state(dict(zip(paths, placed, strict=True))), step, failure)
        if state is not None and (text := dumps(state)) not in tried:
            tried.add(text)
            yield text


def _is_below(path: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(path) > len(other) and path[: len(other)] == other


def _without_replaced(
    combination: Sequence[Any], below: Sequence[Sequence[int]]
) -> tuple[Any, ...]:
    """Leave out the values that are replaced, as a value is put at a path below them."""
    return tuple(
        _MISSING if any(combination[n] is not _MISSING for n in places) else value
        for value, places in zip(combination, below, strict=True)
    )


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
    # One path alone, the longest first, then one value at every path, then one path apart from the
    # rest: most conditions that compare a single path are decided by these. The rest is random.
    for place, value in itertools.product(reversed(range(count)), values):
        yield tuple(value if at == place else _MISSING for at in range(count))
    yield from ((value,) * count for value in values)
    for place, value in itertools.product(range(count), values):
        yield tuple(value if at == place else {} for at in range(count))
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


def _collect(tree: Node, vocabulary: _Vocabulary) -> None:
    # A stack of our own: a long chain of operators is deeper than Python's recursion limit.
    waiting = [tree]
    for _ in range(_MOST_NODES):
        if not waiting:
            return
        node = waiting.pop()
        if node.type in ("member_expression", "subscript_expression"):
            if path := _path(node):
                _add_path(path, vocabulary)
        elif node.type == "number":
            _add_number(_text(node), vocabulary)
        elif node.type == "string":
            text = _text(node)[1:-1]
            vocabulary.values[repr(text)] = text
            # For `list.includes("x")`.
            vocabulary.values[repr([text])] = [text]
        waiting += reversed(node.named_children)


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
    keys: list[str] = []
    for _ in range(_LONGEST_CHAIN):
        if node.type == "identifier":
            return tuple(reversed(keys)) if _text(node) == "state" else None
        if node.type in ("parenthesized_expression", "call_expression"):
            below = next(iter(node.named_children), None)
        elif node.type in ("member_expression", "subscript_expression"):
            key = node.child_by_field_name("property") or node.child_by_field_name("index")
            if key is not None and key.type == "string":
                keys.append(_text(key)[1:-1])
            elif key is not None and key.type == "property_identifier":
                keys.append(_text(key))
            below = node.child_by_field_name("object") if key is not None else None
        else:
            return None
        if below is None:
            return None
        node = below
    return None


def _text(node: Node) -> str:
    return (node.text or b"").decode()
