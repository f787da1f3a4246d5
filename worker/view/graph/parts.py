"""The parts of a graph that no edge joins: laid out each on its own, then put side by side.

Laid out together, dagre leads the edges of one through the boxes' rows of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_BESIDE, _BELOW = 36.0, 44.0
_WIDTH = 1100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutPart:
    """The indexes of nodes that edges join, whatever their direction, and of these edges."""

    nodes: tuple[int, ...]
    edges: tuple[int, ...]


def parts_of(nodes: int, ends: Sequence[tuple[int, int]]) -> list[LayoutPart]:
    """The parts in the order of their first nodes."""
    parents = list(range(nodes))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = node = parents[parents[node]]
        return node

    for source, target in ends:
        one, other = sorted((root(source), root(target)))
        parents[other] = one
    members: dict[int, tuple[list[int], list[int]]] = {}
    for node in range(nodes):
        members.setdefault(root(node), ([], []))[0].append(node)
    for edge, (source, _) in enumerate(ends):
        members[root(source)][1].append(edge)
    return [LayoutPart(nodes=tuple(own), edges=tuple(edges)) for own, edges in members.values()]


def shelved(
    sizes: Sequence[tuple[float, float]],
) -> tuple[list[tuple[float, float]], float, float]:
    """Places (left, top) of boxes of these sizes on shelves, and the width and height of all."""
    limit = max([_WIDTH, *(width for width, _ in sizes)])
    places: list[tuple[float, float]] = []
    left = top = shelf = widest = 0.0
    for width, height in sizes:
        if left and left + width > limit:
            left, top, shelf = 0.0, top + shelf + _BELOW, 0.0
        places.append((left, top))
        widest, shelf = max(widest, left + width), max(shelf, height)
        left += width + _BESIDE
    return places, widest, top + shelf
