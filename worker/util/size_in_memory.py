"""The bytes that a value takes, for caches that are bounded in bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from sys import getsizeof
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

# Most of what a workflow holds. Without a look at their base classes, which takes most of the time.
_PLAIN = frozenset((str, int, float, bool, type(None)))


def size_in_memory(value: Any) -> int:
    """Return the bytes of a value with all that it holds; what it holds twice counts twice."""
    total_bytes, level = 0, [value]
    while level:
        total_bytes += sum(map(getsizeof, level))
        held = (_held(item) for item in level if type(item) not in _PLAIN)
        level = list(chain.from_iterable(held))
    return total_bytes


def _held(item: Any) -> Iterable[Any]:
    if isinstance(item, Struct):
        # Most fields of most structs are their defaults, which all share.
        return filter(None, astuple(item))
    if isinstance(item, list | tuple | set | frozenset):
        return item
    return chain(item.keys(), item.values()) if isinstance(item, Mapping) else ()
