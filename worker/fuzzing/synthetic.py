"""Synthetic inputs: of the shape of samples, with none of their texts and large numbers."""

from __future__ import annotations

import random
import string
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from worker.fuzzing.shape import Shape, numbers_of, texts_of
from worker.fuzzing.text_formats import TextFormat, date_format, format_of

# A smaller number is a count, an age or a flag, and many people have it.
_IDENTIFYING_NUMBER = 1000
_ATTEMPTS = 20
_OTHER_LETTERS = "àçéñøßжщλあ漢"
_LONGEST_LIST = 20
_YEAR_SPAN_DAYS = 3650


class SyntheticInputs:
    """Generator of inputs of a shape. The same seed gives the same inputs."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self._shape = shape
        self._random = random.Random(seed)  # noqa: S311 -- to be repeatable, not to be secret
        self._texts = texts_of(shape)
        self._numbers = numbers_of(shape)

    def next(self) -> Any:
        """Generate the next input."""
        return self._value(self._shape)

    def _value(self, shape: Shape) -> Any:
        if not shape.kinds:
            return None
        makers: Mapping[str, Callable[[Shape], Any]] = {
            "null": lambda shape: None,
            "boolean": lambda shape: self._random.choice(shape.booleans),
            "number": self._number,
            "text": self._text,
            "list": self._list,
            "object": self._object,
            "map": self._map,
        }
        return makers[self._random.choice(shape.kinds)](shape)

    # --- containers -------------------------------------------------------------------------------

    def _object(self, shape: Shape) -> dict[str, Any]:
        return {
            key: self._value(field.shape)
            for key, field in (shape.fields or {}).items()
            if not field.optional or self._random.random() < 0.5
        }

    def _map(self, shape: Shape) -> dict[str, Any]:
        items = shape.items or Shape()
        keys = (self._new_text(self._random.choice(shape.keys)) for _ in range(self._length(shape)))
        return {key: self._value(items) for key in keys}

    def _list(self, shape: Shape) -> list[Any]:
        items = shape.items or Shape()
        return [self._value(items) for _ in range(self._length(shape) if shape.items else 0)]

    def _length(self, shape: Shape) -> int:
        shortest, longest = shape.lengths[0], shape.lengths[-1]
        return self._random.randint(min(shortest, _LONGEST_LIST), min(longest, _LONGEST_LIST))

    # --- numbers ----------------------------------------------------------------------------------

    def _number(self, shape: Shape) -> int | float:
        low, high = shape.numbers[0], shape.numbers[-1]
        for attempt in range(1, 10 * _ATTEMPTS):
            # A range that the samples fill is widened, or every number in it would be a person's.
            wider = (high - low + 10) * (attempt // _ATTEMPTS)
            number = self._between(shape, low, high + wider)
            if number not in self._numbers:
                return number
        # Small numbers are few: here all of them occur in the samples.
        return self._random.randint(0, _IDENTIFYING_NUMBER - 1)

    def _between(self, shape: Shape, low: int | float, high: int | float) -> int | float:
        if all(isinstance(number, int) for number in shape.numbers):
            return self._random.randint(int(low), int(high))
        decimals = max(len(repr(number).partition(".")[2]) for number in shape.numbers)
        return round(self._random.uniform(low, high), min(decimals, 6))

    # --- texts ------------------------------------------------------------------------------------

    def _text(self, shape: Shape) -> str:
        text = self._random.choice((*shape.keywords, *shape.texts))
        return text if text in shape.keywords else self._new_text(text)

    def _new_text(self, text: str) -> str:
        """Make another text of the same form, which no sample has."""
        if not any(map(_is_letter, text)):
            return text
        kind = format_of(text)
        for attempt in range(10 * _ATTEMPTS):
            # A form with few texts ("A") is made longer once the samples have used all of them.
            new = self._draw(text, kind) + self._letters(attempt // _ATTEMPTS)
            if new not in self._texts:
                return new
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _draw(self, text: str, kind: TextFormat) -> str:
        match kind:
            case TextFormat.DATE:
                return self._date(text)
            case TextFormat.UUID:
                return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
            case TextFormat.EMAIL:
                return f"{self._letters(8)}@example.org"
            case TextFormat.URL:
                return f"https://example.org/{self._letters(8)}"
            case _:
                return "".join(map(self._character, text))

    def _date(self, text: str) -> str:
        format = date_format(text)
        assert format is not None
        moment = datetime.strptime(text, format)
        # Backwards: a date of birth, or of a visit, is in the past.
        days = min(_YEAR_SPAN_DAYS, (moment.replace(tzinfo=None) - datetime.min).days)
        shift = timedelta(
            days=self._random.randint(0, days), seconds=self._random.randint(0, 86399)
        )
        date = moment - shift if days == _YEAR_SPAN_DAYS else moment + shift
        # Some systems' strftime does not pad years before 1000.
        return date.strftime(format.replace("%Y", f"{date.year:04d}"))

    def _letters(self, count: int) -> str:
        return "".join(self._random.choice(string.ascii_lowercase) for _ in range(count))

    def _character(self, character: str) -> str:
        if not _is_letter(character):
            return character
        if not character.isascii():
            return self._random.choice(_OTHER_LETTERS)
        if character == "0":
            # A leading zero is part of a form: numbers of telephones, and codes.
            return "0"
        if character.isdigit():
            return self._random.choice(string.digits[1:])
        letters = string.ascii_uppercase if character.isupper() else string.ascii_lowercase
        return self._random.choice(letters)


def _is_letter(character: str) -> bool:
    """Return True for a character that can tell one text from another: no ASCII punctuation."""
    if character.isascii():
        return character.isalnum()
    return unicodedata.category(character)[0] != "Z"
