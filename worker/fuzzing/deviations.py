"""Deviations of an input: one place of it removed, empty, of another type, format or size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from worker.fuzzing.text_formats import other_dates
from worker.sinks.terminal_text import one_line
from worker.util.json import dumps
from worker.workflow.model import Workflow

Place = tuple[str | int, ...]
"""Keys and indices that lead from an input to a value in it."""

_LITERALS_LIMIT = 50
_STRING = re.compile(r"'([^'\\\n]{1,60})'|\"([^\"\\\n]{1,60})\"")
_NUMBER = re.compile(r"(?<![\w.])\d{1,9}(?:\.\d{1,4})?(?![\w.])")
_LONG_TEXT = "x" * 10_000


class DeviationKind(IntEnum):
    """Kinds of deviations, the ones that happen most often in practice first."""

    ABSENT = 0
    NULL = 1
    EMPTY = 2
    FORMAT = 3
    LITERAL = 4
    TYPE = 5
    EXTREME = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Change of one place of an input; ``value`` is ignored where the place is removed.

    ``text`` describes a value that is too long to be printed.
    """

    kind: DeviationKind
    place: Place
    value: Any = None
    text: str = ""

    @property
    def description(self) -> str:
        """The change as words: ``without data.id``, ``data.id is null``."""
        name = describe_place(self.place)
        if self.kind is DeviationKind.ABSENT:
            return f"without {name}"
        return f"{name} {self.text or f'is {one_line(dumps(self.value), 60)}'}"


def describe_place(place: Place) -> str:
    """Format a place as a person writes it: ``data.items[0].id``."""
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return one_line("".join(parts).removeprefix("."), 200)


# --- values of the workflow itself ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Literals:
    """Texts and numbers that the code of a workflow compares with, perhaps."""

    texts: tuple[str, ...] = ()
    numbers: tuple[int | float, ...] = ()


def literals_of(workflow: Workflow) -> Literals:
    """Collect the literals of the conditions and the jobs of a workflow, conditions first."""
    conditions = [edge.expression for step in workflow.steps for edge in step.edges]
    jobs = [step.source for step in workflow.steps if step.runs_code]
    texts = [a or b for source in (*conditions, *jobs) for a, b in _STRING.findall(source)]
    numbers = [_parse(text) for source in (*conditions, *jobs) for text in _NUMBER.findall(source)]
    around = [value for number in numbers for value in (number, number - 1, number + 1)]
    return Literals(
        texts=tuple(dict.fromkeys(texts))[:_LITERALS_LIMIT],
        numbers=tuple(dict.fromkeys(around))[:_LITERALS_LIMIT],
    )


def _parse(text: str) -> int | float:
    return float(text) if "." in text else int(text)


# --- deviations of one input ----------------------------------------------------------------------


def deviations_of(input: Any, literals: Literals = Literals()) -> list[Deviation]:
    """List the deviations of an input: of each kind all places, and then the next kind."""
    # The input itself is no place: a run takes an object and nothing else.
    every = [
        deviation
        for place, value in places_of(input)
        if place
        for deviation in _deviations(place, value, literals)
        if deviation.kind is DeviationKind.ABSENT or not _is_same(deviation.value, value)
    ]
    return sorted(every, key=lambda deviation: deviation.kind)


def places_of(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield each place of an input with its value; of a list only the first item and the last."""
    yield place, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places_of(item, (*place, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1}) if value else ():
            yield from places_of(value[index], (*place, index))


def _deviations(place: Place, value: Any, literals: Literals) -> Iterator[Deviation]:
    def deviation(kind: DeviationKind, new: Any, text: str = "") -> Deviation:
        return Deviation(kind=kind, place=place, value=new, text=text)

    yield deviation(DeviationKind.ABSENT, None)
    yield deviation(DeviationKind.NULL, None)
    match value:
        case bool():
            yield deviation(DeviationKind.EXTREME, not value)
            yield deviation(DeviationKind.FORMAT, str(value).lower())
        case int() | float():
            yield deviation(DeviationKind.FORMAT, str(value), "is a number as text")
            for number in literals.numbers:
                yield deviation(DeviationKind.LITERAL, number)
            for number in (0, -1, 0.5, 1e15):
                yield deviation(DeviationKind.EXTREME, number)
        case str():
            yield from (deviation(DeviationKind.EMPTY, text) for text in ("", " "))
            for text in _other_forms(value):
                yield deviation(DeviationKind.FORMAT, text)
            if (parsed := _number_in(value)) is not None:
                yield deviation(DeviationKind.FORMAT, parsed, "is a text as number")
            for text in literals.texts:
                yield deviation(DeviationKind.LITERAL, text)
            yield deviation(DeviationKind.EXTREME, _LONG_TEXT, "is a long text")
            yield deviation(DeviationKind.EXTREME, "O'Néill “x” \\ </b> 漢\n\0")
        case list():
            yield deviation(DeviationKind.EMPTY, [])
            for new, text in _other_lists(value):
                yield deviation(DeviationKind.EXTREME, new, text)
        case dict():
            yield deviation(DeviationKind.EMPTY, {})
    for other in _other_types(value):
        yield deviation(DeviationKind.TYPE, other)


def _is_same(first: Any, second: Any) -> bool:
    # In Python True == 1 == 1.0, in JSON they are different.
    return type(first) is type(second) and bool(first == second)


def _other_forms(text: str) -> Iterator[str]:
    yield from other_dates(text)
    yield from dict.fromkeys((text.upper(), text.lower(), f" {text} "))


def _number_in(text: str) -> int | float | None:
    return _parse(text) if re.fullmatch(r"\d{1,15}(\.\d{1,9})?", text, re.ASCII) else None


def _other_lists(value: list[Any]) -> Iterator[tuple[list[Any], str]]:
    if len(value) > 1:
        yield value[:1], "has one item"
    if value:
        yield [*value, value[0]], "repeats an item"
        yield [*value, None], "ends with null"


def _other_types(value: Any) -> Iterator[Any]:
    others: tuple[Any, ...] = ("text", -1, True, [], {})
    # A boolean is an int in Python, and no number in JSON.
    own = int if type(value) is float else type(value)
    yield from (other for other in others if type(other) is not own)
    if isinstance(value, dict):
        yield [value]
    elif isinstance(value, list) and value:
        yield value[0]


def apply(input: Any, deviation: Deviation) -> Any:
    """Return the input with the deviation; the input itself stays as it is.

    An input that lacks the place is returned as it is.
    """
    removes = deviation.kind is DeviationKind.ABSENT
    return _changed(input, deviation.place, deviation.value, removes)


def remove(input: Any, place: Place) -> Any:
    """Return the input without a place."""
    return _changed(input, place, None, removes=True)


def replace_at(input: Any, place: Place, value: Any) -> Any:
    """Return the input with another value at a place."""
    return _changed(input, place, value, removes=False)


def _changed(value: Any, place: Sequence[str | int], new: Any, removes: bool) -> Any:
    if not place:
        return new
    key, *rest = place
    if isinstance(value, dict) and key in value:
        if removes and not rest:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: _changed(value[key], rest, new, removes)}
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        if removes and not rest:
            return value[:key] + value[key + 1 :]
        return [*value[:key], _changed(value[key], rest, new, removes), *value[key + 1 :]]
    return value
