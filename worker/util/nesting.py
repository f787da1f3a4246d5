"""Limits of JSON from elsewhere, measured on the text before anything decodes it."""

from __future__ import annotations

import re
from typing import Any, Final

# Far above any real state or workflow, and far below what exhausts Python's stack: a decoder, an
# encoder and the comparison of two states each take some frames for each level.
NESTING_LIMIT: Final = 200
"""Levels of objects and arrays in a state, an error's details, a file or a plan."""

ENVELOPE_LEVELS: Final = 10
"""Levels that a message or a joined final state adds around states."""

SIZE_LIMIT_BYTES: Final = 1 << 30
"""Bytes of the largest state, file or frame. The limits of a run are lower by default."""

VALUE_LIMIT: Final = 2_000_000
"""Values in a file: as Python objects they take some hundred bytes each."""

_OTHERS: Final = bytes(sorted(set(range(256)) - set(b'"[]{}')))
_OTHERS_THAN_COMMAS: Final = bytes(sorted(set(_OTHERS) - set(b",")))
_ALIKE: Final = bytes.maketrans(b"{}", b"[]")
_STRING = re.compile(rb'"[^"]*"')


def nests_deeper(text: str | bytes, levels: int = NESTING_LIMIT) -> bool:
    """Return whether JSON text has more than so many levels of objects and arrays.

    Of text that is no JSON, the answer is true or false without a meaning, but never an error.
    """
    # Most texts have fewer brackets in all, which takes no look at their order.
    if isinstance(text, str):
        if text.count("[") + text.count("{") <= levels:
            return False
        text = text.encode("utf-8", "surrogatepass")
    elif text.count(b"[") + text.count(b"{") <= levels:
        return False
    rest = _brackets(text)
    # Each turn removes the innermost level. All of it is done in C, as a state may be large.
    for _ in range(levels):
        if not rest:
            return False
        rest = rest.replace(b"[]", b"")
    return bool(rest)


def has_more_values(text: str | bytes, limit: int = VALUE_LIMIT) -> bool:
    """Return whether JSON text has more than so many values; an empty container counts twice."""
    # A value takes a character at least.
    if len(text) < limit:
        return False
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if data.count(b",") + data.count(b"[") + data.count(b"{") < limit:
        return False
    rest = _brackets(data, _OTHERS_THAN_COMMAS)
    return 1 + rest.count(b",") + rest.count(b"[") > limit


def _brackets(text: bytes, others: bytes = _OTHERS) -> bytes:
    """Return the brackets of JSON text, all as square ones, without those in its strings."""
    if b"\\" in text:
        # In this order: the second of two backslashes escapes nothing.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    text = text.translate(_ALIKE, others).replace(b'""', b"")
    return _STRING.sub(b"", text) if b'"' in text else text


def value_nests_deeper(value: Any, levels: int = NESTING_LIMIT) -> bool:
    """Return whether dicts and lists are nested in more than so many levels, or in themselves."""
    # Level by level: recursion would be slower, and could itself exceed Python's limit.
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(levels):
        if not level:
            return False
        level = [
            child
            for container in level
            for child in (container.values() if type(container) is dict else container)
            if type(child) in _CONTAINERS
        ]
    return bool(level)


_CONTAINERS: Final = frozenset((dict, list))
