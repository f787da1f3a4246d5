"""Cache of a function's results, bounded by the bytes that they take."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, ParamSpec, TypeVar

MAX_KEPT_BYTES = 128 * 1024 * 1024
"""Limit of a cache whose keys or results are workflows, plans or code, perhaps of strangers."""

P = ParamSpec("P")
R = TypeVar("R")


class BoundedCache(Generic[P, R]):
    """Function that keeps its newest results, up to ``max_bytes`` together.

    ``size_of`` estimates the bytes of a result with its arguments. A larger one is not kept.
    """

    def __init__(self, function: Callable[P, R], max_bytes: int, size_of: Callable[..., int]):
        self._function, self._max_bytes, self._size_of = function, max_bytes, size_of
        self._entries: OrderedDict[Hashable, tuple[R, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.held_bytes = 0

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        key = (arguments, tuple(named.items()))
        with self._lock:
            if (entry := self._entries.get(key)) is not None:
                self._entries.move_to_end(key)
                return entry[0]
        # Without the lock: compiling takes long, and two threads may well do the same.
        result = self._function(*arguments, **named)
        self._keep(key, result, self._size_of(result, *arguments, **named))
        return result

    def _keep(self, key: Hashable, result: R, size_bytes: int) -> None:
        with self._lock:
            if size_bytes > self._max_bytes or key in self._entries:
                return
            self._entries[key] = result, size_bytes
            self.held_bytes += size_bytes
            while self.held_bytes > self._max_bytes:
                _, (_, freed_bytes) = self._entries.popitem(last=False)
                self.held_bytes -= freed_bytes

    def cache_clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._entries.clear()
            self.held_bytes = 0


def cached_within(
    max_bytes: int, size_of: Callable[..., int]
) -> Callable[[Callable[P, R]], BoundedCache[P, R]]:
    """Return a decorator that caches a function within ``max_bytes``.

    ``size_of`` receives the result and the arguments, and returns the bytes that they take.
    """

    def decorate(function: Callable[P, Any]) -> BoundedCache[P, Any]:
        return BoundedCache(function, max_bytes, size_of)

    return decorate
