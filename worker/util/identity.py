"""Key of a cache: an object itself, and none that equals it."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Identical(Generic[T]):
    """Key for one object. Comparing workflows by value takes longer than what is cached for them.

    The key keeps the object alive, so no other one gets its identity while it is in a cache.
    """

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identical) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)
