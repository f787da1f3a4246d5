"""Shape of inputs, learned from samples: types, optional fields, ranges, formats, enumerations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.fuzzing.text_formats import is_keyword, is_personal_field

# A value of an enumeration comes again in other samples: in so many that it is about nobody.
_KEYWORD_COUNT = 3
_KEYWORDS_LIMIT = 12
# Objects with more keys than this hold data by key, as a rule by the id of something.
_KEYS_LIMIT = 100
_DATA_KEY = re.compile(r"\d{3}|[^\w.$:-]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Field of objects. It is ``optional`` if some of them lack it."""

    shape: Shape
    optional: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Shape of the values at one place of the samples; what no sample has is empty.

    ``keywords`` are the texts of an enumeration, and ``texts`` all others. ``lengths`` are those of
    lists, ``items`` the shape of their items. ``fields`` are those of objects; where the keys of
    objects are data, ``keys`` holds the keys, and ``items`` is the shape of the values.
    """

    has_null: bool = False
    booleans: tuple[bool, ...] = ()
    numbers: tuple[int | float, ...] = ()
    keywords: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    lengths: tuple[int, ...] = ()
    keys: tuple[str, ...] = ()
    items: Shape | None = None
    fields: Mapping[str, Field] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of values that occur, in a fixed order."""
        present = {
            "null": self.has_null,
            "boolean": self.booleans,
            "number": self.numbers,
            "text": self.keywords or self.texts,
            "list": self.lengths,
            "object": self.fields is not None,
            "map": self.keys,
        }
        return tuple(kind for kind, occurs in present.items() if occurs)


def learn(samples: Sequence[Any]) -> Shape:
    """Learn the shape of samples, which are values of JSON."""
    return _learn(samples, "", _personal_texts(samples))


def _learn(values: Sequence[Any], name: str, personal: frozenset[str]) -> Shape:
    texts = [value for value in values if isinstance(value, str)]
    lists = [value for value in values if isinstance(value, list)]
    objects = [value for value in values if isinstance(value, dict)]
    maps = objects if _keys_are_data(objects) else []
    children = [item for each in lists for item in each]
    children += [item for each in maps for item in each.values()]
    keywords = [text for text in _keywords(texts, name) if text not in personal]
    return Shape(
        has_null=None in values,
        booleans=tuple(sorted({value for value in values if isinstance(value, bool)})),
        numbers=tuple(sorted({value for value in values if _is_number(value)})),
        keywords=tuple(keywords),
        texts=tuple(dict.fromkeys(text for text in texts if text not in keywords)),
        lengths=tuple(sorted({len(each) for each in lists} | {len(each) for each in maps})),
        keys=tuple(dict.fromkeys(key for each in maps for key in each)),
        items=_learn(children, name, personal) if children else None,
        fields=None if maps or not objects else dict(_fields(objects, personal)),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fields(
    objects: Sequence[Mapping[str, Any]], personal: frozenset[str]
) -> Iterator[tuple[str, Field]]:
    for key in dict.fromkeys(key for each in objects for key in each):
        values = [each[key] for each in objects if key in each]
        yield key, Field(shape=_learn(values, key, personal), optional=len(values) < len(objects))


def _keys_are_data(objects: Sequence[Mapping[str, Any]]) -> bool:
    counts = Counter(key for each in objects for key in each)
    if len(counts) > _KEYS_LIMIT or any(_DATA_KEY.search(key) for key in counts):
        return True
    # Several objects that share hardly a key: each has keys of its own.
    filled = sum(bool(each) for each in objects)
    return filled >= _KEYWORD_COUNT and max(counts.values()) == 1


def _keywords(texts: Sequence[str], name: str) -> list[str]:
    counts = Counter(texts)
    if is_personal_field(name) or len(counts) > _KEYWORDS_LIMIT:
        return []
    if all(is_keyword(text) and count >= _KEYWORD_COUNT for text, count in counts.items()):
        return sorted(counts)
    return []


# --- texts about persons --------------------------------------------------------------------------


def _personal_texts(samples: Sequence[Any]) -> frozenset[str]:
    """Return the texts that are no keywords at some place, so that they are none anywhere."""
    # In one sample a text can come often and still be about a person: a name in a list of visits.
    counts = Counter(text for sample in samples for text in set(_texts(sample)))
    rare = frozenset(text for text, count in counts.items() if count < _KEYWORD_COUNT)
    return rare | frozenset(_texts_outside_enumerations(_learn(samples, "", rare)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    children = value.values() if isinstance(value, dict) else value
    for item in children if isinstance(value, dict | list) else ():
        yield from _texts(item)


def _texts_outside_enumerations(shape: Shape) -> Iterator[str]:
    yield from shape.texts
    yield from shape.keys
    if shape.items is not None:
        yield from _texts_outside_enumerations(shape.items)
    for field in (shape.fields or {}).values():
        yield from _texts_outside_enumerations(field.shape)


def texts_of(shape: Shape) -> frozenset[str]:
    """Return the texts of the samples that can be about a person: all but keywords."""
    return frozenset(_texts_outside_enumerations(shape))


def numbers_of(shape: Shape) -> frozenset[int | float]:
    """Return all numbers of the samples."""
    return frozenset(_numbers(shape))


def _numbers(shape: Shape) -> Iterator[int | float]:
    yield from shape.numbers
    if shape.items is not None:
        yield from _numbers(shape.items)
    for field in (shape.fields or {}).values():
        yield from _numbers(field.shape)
