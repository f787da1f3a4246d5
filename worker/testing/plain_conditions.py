"""Conditions so plain that they are evaluated here, with the engine's exact result.

Such a condition reads values of the state, compares some with literals and joins all of this by
``&&``: ``!state.errors && state.data.age > 5``. The way to the engine and back takes longer than
the rest of a scripted step, so what is certain is decided without it. Everything else is the
engine's: other syntax, values that have to be converted, reads of a value that is no object, and
states that the engine would not write as they are.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from worker.workflow.model import Edge, EdgeKind

# The state is decoded and encoded to see that it is plain: a large one is no faster here.
_MAX_STATE_CHARACTERS: Final = 2000

# What JavaScript writes in another way or order than it was: numbers with a fraction, an exponent
# or more than 15 digits, keys that are indices, and escapes.
_REWRITTEN = re.compile(r'[:,\[]-?(?:\d{16}|\d+[.eE])|[:,\[]-0|"\d+":|\\')

_TERM = re.compile(
    r"""(?P<negations>!*)state(?P<path>(?:\.(?!__)[A-Za-z_$][\w$]*)+)"""
    r"""(?:\ *(?P<operator>[!=]==?|[<>]=?)\ *(?P<literal>"""
    r"""true|false|null|0|-?[1-9]\d{0,14}|"[^"\\\r\n]*"|'[^'\\\r\n]*'))?""",
    re.ASCII,
)
_NAMED = {"true": True, "false": False, "null": None}

# A name that an object inherits has a value where the object has none.
INHERITED: Final = frozenset(
    (
        *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable"),
        *("toLocaleString", "toString", "valueOf"),
    )
)

_UNDEFINED: Final = object()

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_Test = Callable[[Any], bool]
_Condition = Callable[[str, dict[str, Any]], bool]


class _Undecided(Exception):
    """The result needs the engine."""


def evaluate_plain(
    step_id: str, edges: Sequence[Edge], state: str | None
) -> tuple[bool, ...] | None:
    """Return for each edge whether it is taken, or ``None`` where that needs the engine.

    ``state`` is JSON text. Conditions that are evaluated here leave it as it is.
    """
    conditions = [_condition(edge.kind, edge.expression) for edge in edges]
    if _undecided in conditions or state is None or not _is_small_and_plain(state):
        return None
    try:
        value = msgspec.json.decode(state)
        # Spaces and keys that occur twice are not written again.
        if type(value) is not dict or msgspec.json.encode(value).decode() != state:
            return None
        return tuple([condition(step_id, value) for condition in conditions])
    except (_Undecided, ValueError, RecursionError):
        return None


def _is_small_and_plain(state: str) -> bool:
    return len(state) <= _MAX_STATE_CHARACTERS and not _REWRITTEN.search(state)


@lru_cache(maxsize=1000)
def _condition(kind: EdgeKind, expression: str) -> _Condition:
    match kind:
        case EdgeKind.ALWAYS:
            return lambda step_id, state: True
        case EdgeKind.SUCCESS:
            return lambda step_id, state: not _has_error(step_id, state)
        case EdgeKind.FAILURE:
            return _has_error
    texts = expression.removesuffix(";").split("&&")
    # Only spaces of both languages: Python's own are more.
    terms = [_TERM.fullmatch(text.strip(" \t\r\n")) for text in texts]
    if None in terms or any(term["operator"] and term["negations"] for term in terms if term):
        return _undecided
    tests = [(tuple(term["path"].split(".")[1:]), _test(term)) for term in terms if term]
    return lambda step_id, state: all(test(_read(state, path)) for path, test in tests)


def _undecided(step_id: str, state: dict[str, Any]) -> bool:
    raise _Undecided


def _has_error(step_id: str, state: dict[str, Any]) -> bool:
    errors = state.get("errors")
    return isinstance(errors, dict) and _truth(errors.get(step_id))


def _read(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if type(value) is not dict or (name in INHERITED and name not in value):
            raise _Undecided
        value = value.get(name, _UNDEFINED)
    return value


def _truth(value: Any) -> bool:
    return value is not _UNDEFINED and (isinstance(value, dict | list) or bool(value))


def _test(term: re.Match[str]) -> _Test:
    if not term["operator"]:
        expected = len(term["negations"]) % 2 == 0
        return lambda value: _truth(value) is expected
    text = term["literal"]
    literal = _NAMED[text] if text in _NAMED else text[1:-1] if text[0] in "\"'" else int(text)
    match term["operator"]:
        case "===":
            return lambda value: type(value) is type(literal) and value == literal
        case "!==":
            return lambda value: type(value) is not type(literal) or value != literal
    return _comparison(_COMPARISONS[term["operator"]], literal)


def _comparison(compare: Callable[[Any, Any], bool], literal: Any) -> _Test:
    def test(value: Any) -> bool:
        # JavaScript would convert other values first, and orders texts by their UTF-16.
        if type(value) is not int or type(literal) is not int:
            raise _Undecided
        return compare(value, literal)

    return test
