"""Simpler inputs: candidates to put in the place of an input whose run ends the same way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from worker.fuzzing.deviations import places_of, remove, replace_at
from worker.util.json import dumps


def size_of(input: Any) -> tuple[int, str]:
    """Return the size that a simpler input has less of: the length of its JSON, then its text."""
    text = dumps(input)
    return len(text), text


def simpler(input: Any) -> Iterator[Any]:
    """Yield simpler inputs: without a place, the largest first, or with a simple value there."""
    places = [(place, value) for place, value in places_of(input) if place]
    # The largest first: without it, the places inside it need no attempt.
    places.sort(key=lambda item: -len(dumps(item[1])))
    size = size_of(input)
    for candidate in _candidates(input, places):
        if size_of(candidate) < size:
            yield candidate


def _candidates(input: Any, places: list[tuple[Any, Any]]) -> Iterator[Any]:
    for place, _ in places:
        yield remove(input, place)
    for place, value in places:
        for simple in _simple_values(value):
            yield replace_at(input, place, simple)


def _simple_values(value: Any) -> Iterator[Any]:
    match value:
        case str():
            # Not only empty ones: a condition may tell an empty text from all others.
            yield from ("", "a", "0", "2000-01-01")
            yield from (value[: len(value) // 2], value.strip())
        case bool():
            yield from ()
        case int() | float():
            yield from (0, 1)
        case list():
            yield from ([], value[: len(value) // 2])
        case dict():
            yield {}
