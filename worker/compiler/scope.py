"""Scopes of names, and the names that a source uses without declaring them."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Scope(Generic[T]):
    """Names of one block or function; ``dollars`` are the uses of ``$`` with a property."""

    __slots__ = ("called", "declared", "dollars", "parent", "used")

    def __init__(self, parent: Scope[T] | None = None) -> None:
        self.parent = parent
        self.declared: set[bytes] = set()
        self.used: set[bytes] = set()
        self.called: set[bytes] = set()
        self.dollars: list[T] = []


def resolve(scopes: list[Scope[T]]) -> None:
    """Move names that a scope does not declare to its parent; ``scopes`` has parents first.

    Afterwards the outermost scope alone has the names (and each ``$``) that no scope declares.
    """
    for scope in reversed(scopes):
        scope.used -= scope.declared
        scope.called -= scope.declared
        # A job may declare its own $, which then is not the state.
        if b"$" in scope.declared:
            scope.dollars.clear()
        if (parent := scope.parent) is not None:
            parent.used = _moved(scope.used, parent.used)
            parent.called = _moved(scope.called, parent.called)
            parent.dollars += scope.dollars
            scope.used, scope.called, scope.dollars = set(), set(), []


def _moved(names: set[bytes], into: set[bytes]) -> set[bytes]:
    """Join two sets into one of them; neither is used any more."""
    # The smaller into the larger: with copies in each of many nested scopes, a job of 100 kB would
    # take gigabytes.
    small, large = sorted((names, into), key=len)
    large |= small
    return large
