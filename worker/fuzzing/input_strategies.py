"""Hypothesis strategies for inputs that are like samples, and for inputs just beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from worker.errors import UsageError
from worker.fuzzing.deviations import Deviation, apply, deviations_of
from worker.fuzzing.shape import Shape, learn
from worker.fuzzing.text_formats import TextFormat, date_format, format_of

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

Samples = Sequence[Mapping[str, Any]]

_LONGEST_LIST = 20
_NEEDS = "strategies need the extra fuzz: pip install 'workflow-worker[fuzz]'"


class Strategies:
    """Strategies of hypothesis that learn from samples; ``strategies`` is the one object of it."""

    def inputs(self, samples: Samples) -> SearchStrategy[dict[str, Any]]:
        """Return a strategy for inputs of the samples' shape.

        They have the fields of the samples, those that some samples lack at times, values of the
        same kinds and formats, numbers and lengths within their ranges. Raises :class:`UsageError`
        for no samples, and where hypothesis is missing.
        """
        if not samples:
            raise UsageError("samples: expected at least one input")
        return _strategy(learn([dict(sample) for sample in samples]))

    def unusual_inputs(self, samples: Samples) -> SearchStrategy[dict[str, Any]]:
        """Return a strategy for inputs that differ from the samples' shape at one place.

        There, a field is missing or null, a list is empty or longer, a number is a text, a date has
        another format, and more. Raises as :meth:`inputs` does.
        """
        return self.inputs(samples).flatmap(_deviated)


strategies: Final = Strategies()
"""The strategies of hypothesis that learn from samples."""


def _deviated(input: dict[str, Any]) -> SearchStrategy[dict[str, Any]]:
    from hypothesis import strategies as st

    def changed(deviation: Deviation) -> dict[str, Any]:
        result = apply(input, deviation)
        return result if isinstance(result, dict) else input

    deviations = deviations_of(input)
    return st.sampled_from(deviations).map(changed) if deviations else st.just(input)


def _strategy(shape: Shape) -> SearchStrategy[Any]:
    """Return a strategy for the values at one place."""
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise UsageError(_NEEDS) from error
    makers: Mapping[str, Callable[[], SearchStrategy[Any]]] = {
        "null": st.none,
        "boolean": lambda: st.sampled_from(shape.booleans),
        "number": lambda: _number(shape),
        "text": lambda: st.sampled_from((*shape.keywords, *shape.texts)).flatmap(_text),
        "list": lambda: _list(shape),
        "object": lambda: _object(shape),
        "map": lambda: _map(shape),
    }
    return st.one_of([makers[kind]() for kind in shape.kinds]) if shape.kinds else st.none()


def _object(shape: Shape) -> SearchStrategy[dict[str, Any]]:
    from hypothesis import strategies as st

    fields = (shape.fields or {}).items()
    return st.fixed_dictionaries(
        {key: _strategy(field.shape) for key, field in fields if not field.optional},
        optional={key: _strategy(field.shape) for key, field in fields if field.optional},
    )


def _lengths(shape: Shape) -> tuple[int, int]:
    return min(shape.lengths[0], _LONGEST_LIST), min(shape.lengths[-1], _LONGEST_LIST)


def _list(shape: Shape) -> SearchStrategy[list[Any]]:
    from hypothesis import strategies as st

    if shape.items is None:
        return st.just([])
    shortest, longest = _lengths(shape)
    return st.lists(_strategy(shape.items), min_size=shortest, max_size=longest)


def _map(shape: Shape) -> SearchStrategy[dict[str, Any]]:
    from hypothesis import strategies as st

    shortest, longest = _lengths(shape)
    keys = st.sampled_from(shape.keys).flatmap(_text)
    return st.dictionaries(
        keys, _strategy(shape.items or Shape()), min_size=shortest, max_size=longest
    )


def _number(shape: Shape) -> SearchStrategy[Any]:
    from hypothesis import strategies as st

    low, high = shape.numbers[0], shape.numbers[-1]
    if all(isinstance(number, int) for number in shape.numbers):
        return st.integers(int(low), int(high))
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def _text(text: str) -> SearchStrategy[str]:
    """Return a strategy for texts of the format of another, and that text."""
    from hypothesis import strategies as st

    match format_of(text):
        case TextFormat.DATE:
            format = date_format(text)
            assert format is not None
            days = st.datetimes(datetime(1950, 1, 1), datetime(2040, 1, 1))
            # Without a zone, %z writes nothing.
            return st.just(text) | days.map(lambda day: _write_date(day, format))
        case TextFormat.UUID:
            return st.just(text) | st.uuids().map(str)
        case TextFormat.NUMBER | TextFormat.EMAIL | TextFormat.URL:
            return st.just(text)
        case _:
            letters = st.characters(categories=("L", "N"), include_characters=" '-")
            return st.just(text) | st.text(letters, min_size=1, max_size=max(len(text) * 2, 1))


def _write_date(day: datetime, format: str) -> str:
    return day.strftime(format.replace("%z", "+00:00"))
