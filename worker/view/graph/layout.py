"""Where everything in a picture is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from worker.view.graph.dagre import Point
from worker.view.graph.fitting import Fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """A box by its middle, with the lines of text in it."""

    x: float
    y: float
    width: float
    height: float
    text: Fitted

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
    """Boxes and labels (None: there is none) in the order of the drawing, routes as the points
    from an edge's source to its target. All of it lies between (0, 0) and (width, height).

    Two points of a route below each other are joined by a line; others by a curve that leaves and
    arrives upright, or by a line where they stand side by side.
    """

    width: float
    height: float
    boxes: tuple[Rectangle, ...]
    labels: tuple[Rectangle | None, ...]
    routes: tuple[tuple[Point, ...], ...]


def shifted(layout: Layout, left: float, top: float) -> Layout:
    """The layout with what was at (left, top) at (0, 0)."""

    def box(one: Rectangle) -> Rectangle:
        return replace(one, x=one.x - left, y=one.y - top)

    return replace(
        layout,
        boxes=tuple(map(box, layout.boxes)),
        labels=tuple(label and box(label) for label in layout.labels),
        routes=tuple(tuple((x - left, y - top) for x, y in route) for route in layout.routes),
    )
