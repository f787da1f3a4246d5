"""The bytes that a value takes, for caches that are bounded in bytes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple


def size_in_memory(value: Any) -> int:
    """Return the bytes of a value with all that it holds; what it holds twice counts twice."""
    total_bytes, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        total_bytes += sys.getsizeof(item)
        if isinstance(item, Struct):
            waiting += astuple(item)
        elif isinstance(item, Mapping):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += item
    return total_bytes
