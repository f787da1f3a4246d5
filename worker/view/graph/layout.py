"""Positions of boxes, labels and edges."""

from __future__ import annotations

from dataclasses import dataclass, replace

from worker.view.graph.dagre import Point
from worker.view.graph.text_blocks import TextBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """Box given by its center, with its text."""

    x: float
    y: float
    width: float
    height: float
    text: TextBlock

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Boxes, labels (None: no text) and routes in the order of the drawing.

    A route is the points from source to target. Points with the same x or y are joined by a line,
    others by a curve with vertical ends. All coordinates are between (0, 0) and (width, height).
    """

    width: float
    height: float
    boxes: tuple[Rectangle, ...]
    labels: tuple[Rectangle | None, ...]
    routes: tuple[tuple[Point, ...], ...]


def shift(layout: Layout, left: float, top: float) -> Layout:
    """Move the layout so that (left, top) becomes (0, 0)."""

    def move(box: Rectangle) -> Rectangle:
        return replace(box, x=box.x - left, y=box.y - top)

    return replace(
        layout,
        boxes=tuple(map(move, layout.boxes)),
        labels=tuple(label and move(label) for label in layout.labels),
        routes=tuple(tuple((x - left, y - top) for x, y in route) for route in layout.routes),
    )
