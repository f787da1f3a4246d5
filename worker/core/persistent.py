"""Persistent collections: an update returns a new one that shares most of the old.

They keep the machine's states immutable at a cost that is linear in the length of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isqrt
from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")
LinkedList = tuple[T, "LinkedList[T]"] | None


def iterate(items: LinkedList[T]) -> Iterator[T]:
    """Yield the items, newest first."""
    while items is not None:
        item, items = items
        yield item


def in_order(items: LinkedList[T]) -> tuple[T, ...]:
    """Return the items, oldest first."""
    return tuple(iterate(items))[::-1]


class Queue(Struct, Generic[T], frozen=True, eq=False):
    """First-in, first-out queue; push and pop take amortised constant time."""

    front: LinkedList[T] = None
    back: LinkedList[T] = None
    length: int = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[T]:
        yield from iterate(self.front)
        yield from reversed(tuple(iterate(self.back)))

    def push(self, items: Iterable[T]) -> Queue[T]:
        back, length = self.back, self.length
        for item in items:
            back = (item, back)
            length += 1
        return Queue(self.front, back, length)

    def pop(self) -> tuple[T, Queue[T]]:
        front, back = self.front, self.back
        if front is None:
            # Each item is moved from back to front once, so a pop takes constant time on average.
            for item in iterate(back):
                front = (item, front)
            back = None
        if front is None:
            raise IndexError("pop from an empty queue")
        return front[0], Queue(front[1], back, self.length - 1)


class Counts(Struct, frozen=True):
    """Counts by index. An update copies one row of counts, and the list of the rows.

    A row is one integer, in which each count has ``_BITS``: it is copied in one piece, where a
    tuple of counts would touch each of them.
    """

    rows: tuple[int, ...]
    width: int

    @classmethod
    def of(cls, size: int) -> Counts:
        # Both parts of an update take about the same time.
        width = 4 * isqrt(size) + 1
        return cls((0,) * (size // width + 1), width)

    def __getitem__(self, index: int) -> int:
        row, column = divmod(index, self.width)
        return self.rows[row] >> (_BITS * column) & _MOST

    def increment(self, index: int) -> Counts:
        row, column = divmod(index, self.width)
        rows = self.rows
        more = rows[row] + (1 << (_BITS * column))
        return Counts((*rows[:row], more, *rows[row + 1 :]), self.width)


_BITS = 64
_MOST = (1 << _BITS) - 1
