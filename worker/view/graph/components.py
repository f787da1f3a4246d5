"""Connected components of a graph, and their packing side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Components are laid out one by one: together, dagre routes edges of one through boxes of another.
_COLUMN_GAP, _ROW_GAP = 36.0, 44.0
_SHELF_WIDTH = 1100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """Indexes of the nodes and edges of a connected component."""

    nodes: tuple[int, ...]
    edges: tuple[int, ...]


def connected_components(nodes: int, ends: Sequence[tuple[int, int]]) -> list[Component]:
    """Group the nodes into components, in the order of their first nodes."""
    parents = list(range(nodes))

    def root(node: int) -> int:
        while parents[node] != node:
            # Path halving keeps the trees flat, so that each lookup takes nearly constant time.
            parents[node] = node = parents[parents[node]]
        return node

    for source, target in ends:
        first, second = sorted((root(source), root(target)))
        parents[second] = first
    members: dict[int, tuple[list[int], list[int]]] = {}
    for node in range(nodes):
        members.setdefault(root(node), ([], []))[0].append(node)
    for edge, (source, _) in enumerate(ends):
        members[root(source)][1].append(edge)
    return [Component(nodes=tuple(own), edges=tuple(edges)) for own, edges in members.values()]


def pack_on_shelves(
    sizes: Sequence[tuple[float, float]],
) -> tuple[list[tuple[float, float]], float, float]:
    """Place boxes from left to right on shelves (rows) of about 1100 pixels.

    Return the positions (left, top), and the total width and height.
    """
    # A component that is wider than a shelf has one of its own.
    limit = max([_SHELF_WIDTH, *(width for width, _ in sizes)])
    positions: list[tuple[float, float]] = []
    left = top = row_height = widest = 0.0
    for width, height in sizes:
        if left and left + width > limit:
            left, top, row_height = 0.0, top + row_height + _ROW_GAP, 0.0
        positions.append((left, top))
        widest, row_height = max(widest, left + width), max(row_height, height)
        left += width + _COLUMN_GAP
    return positions, widest, top + row_height
