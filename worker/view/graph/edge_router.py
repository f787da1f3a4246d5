"""Edge routing: turns the positions of dagre into boxes, labels and routes.

dagre decides order, columns and rows. Edges change columns only between rows, so none crosses a box
or a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from worker.view.graph.dagre import DagreLayout, Point
from worker.view.graph.layout import Layout, Rectangle, shift
from worker.view.graph.text_blocks import TextBlock

# Pixels between rows: a base, a share of the sideways reach of edges, and a limit.
_GAP, _SLOPE, _MAX_GAP = 22.0, 0.08, 84.0
_PORT_STEP, _PORT_SHARE = 20.0, 0.6
# Coordinates of dagre are sums of floats: equal ones may differ in the last digits.
_NEAR = 0.01


@dataclass(frozen=True, slots=True)
class _Row:
    """Row of boxes or labels: its middle, and half of its height."""

    y: float
    half: float


class EdgeRouter:
    """Builds the layout of one component. ``ends`` are the box indexes that each edge joins."""

    def __init__(
        self,
        positions: DagreLayout,
        boxes: Sequence[TextBlock],
        labels: Sequence[TextBlock],
        ends: Sequence[tuple[int, int]],
    ) -> None:
        self.positions, self.ends = positions, ends
        self.rows = _rows(positions, boxes, labels, ends)
        self.ys = [row.y for row in self.rows]
        self.columns = [self._columns(edge) for edge in range(len(ends))]
        self.spaced_rows = self._spaced_rows()
        self.boxes = [
            self._box(point, text) for point, text in zip(positions.nodes, boxes, strict=True)
        ]
        self.labels = [
            self._box(point, text) if point and text.lines else None
            for point, text in zip(positions.labels, labels, strict=True)
        ]
        self.ports = self._ports()

    def layout(self) -> Layout:
        """Build the layout, moved to begin at (0, 0)."""
        routes = [self._route(edge) for edge in range(len(self.ends))]
        left, top, right, bottom = _bounds([*self.boxes, *filter(None, self.labels)], routes)
        layout = Layout(
            width=right - left,
            height=bottom - top,
            boxes=tuple(self.boxes),
            labels=tuple(self.labels),
            routes=tuple(routes),
        )
        return shift(layout, left, top)

    def _row(self, y: float) -> int:
        return bisect_left(self.ys, y - _NEAR)

    def _box(self, point: Point, text: TextBlock) -> Rectangle:
        row = self.spaced_rows[self._row(point[1])]
        return Rectangle(x=point[0], y=row.y, width=text.width, height=text.height, text=text)

    def _columns(self, edge: int) -> list[tuple[float, int]]:
        """List the (x, row) that an edge passes between its ends; none for a loop."""
        source, target = self.ends[edge]
        if source == target:
            return []
        return [(x, self._row(y)) for x, y in self.positions.edges[edge][1:-1]]

    def _waypoints(self, edge: int) -> list[tuple[float, int]]:
        first, last = (self.positions.nodes[end] for end in self.ends[edge])
        return [(first[0], self._row(first[1])), *self.columns[edge], (last[0], self._row(last[1]))]

    def _spaced_rows(self) -> list[_Row]:
        # A curve that goes far sideways needs more height, or it becomes too flat to follow.
        reach: dict[int, float] = defaultdict(float)
        for edge in range(len(self.ends)):
            for (x, from_row), (next_x, to_row) in pairwise(self._waypoints(edge)):
                upper = min(from_row, to_row)
                reach[upper] = max(reach[upper], abs(next_x - x))
        rows: list[_Row] = []
        bottom = 0.0
        for number, row in enumerate(self.rows):
            gap = min(_MAX_GAP, _GAP + _SLOPE * reach[number - 1]) if number else 0
            rows.append(_Row(bottom + gap + row.half, row.half))
            bottom += gap + 2 * row.half
        return rows

    def _ports(self) -> dict[tuple[int, bool], float]:
        """Compute the x of each edge at its source (edge, False) and its target (edge, True)."""
        # Edges on one side of a box are sorted by their other ends, so that they do not cross.
        sides: dict[tuple[int, bool], list[tuple[float, int, bool]]] = defaultdict(list)
        for edge, (source, target) in enumerate(self.ends):
            if source == target:
                continue  # a loop leaves from the side of its box
            columns = self.columns[edge]
            down = self.boxes[source].y < self.boxes[target].y
            leads_to = columns[0][0] if columns else self.boxes[target].x
            comes_from = columns[-1][0] if columns else self.boxes[source].x
            sides[source, down].append((leads_to, edge, False))
            sides[target, not down].append((comes_from, edge, True))
        ports = {}
        for (node, _), side in sides.items():
            box = self.boxes[node]
            step = min(_PORT_STEP, box.width * _PORT_SHARE / max(1, len(side) - 1))
            left = box.x - step * (len(side) - 1) / 2
            for number, (_, edge, arrives) in enumerate(sorted(side)):
                ports[edge, arrives] = left + step * number
        return ports

    def _route(self, edge: int) -> tuple[Point, ...]:
        source, target = self.ends[edge]
        if source == target:
            return self._loop(edge)
        first, last = self.boxes[source], self.boxes[target]
        down = first.y < last.y
        side = 1 if down else -1
        leaves, arrives = self.ports[edge, False], self.ports[edge, True]
        points = [(leaves, first.bottom if down else first.top)]
        (_, first_row), *columns, (_, last_row) = self._waypoints(edge)
        for x, number in [(leaves, first_row), *columns, (arrives, last_row)]:
            row = self.spaced_rows[number]
            points += [(x, row.y - side * row.half), (x, row.y + side * row.half)]
        # The route begins and ends at the borders of the boxes: drop the points inside them.
        points = [points[0], *points[2:-1], (arrives, last.top if down else last.bottom)]
        return _without_duplicates(points)

    def _loop(self, edge: int) -> tuple[Point, ...]:
        box, label = self.boxes[self.ends[edge][0]], self.labels[edge]
        farthest = max((x for x, _ in self.positions.edges[edge]), key=lambda x: abs(x - box.x))
        around = label.x if label else farthest
        side = box.right if around > box.x else box.left
        half = min(box.height / 2 - 6, label.height / 2 + 6 if label else 10)
        upper, lower = box.y - half, box.y + half
        return ((side, upper), (around, upper), (around, lower), (side, lower))


def _rows(
    positions: DagreLayout,
    boxes: Sequence[TextBlock],
    labels: Sequence[TextBlock],
    ends: Sequence[tuple[int, int]],
) -> list[_Row]:
    halves: list[tuple[float, float]] = [
        *((y, box.height / 2) for (_, y), box in zip(positions.nodes, boxes, strict=True)),
        *(
            (point[1], label.height / 2)
            for point, label in zip(positions.labels, labels, strict=True)
            if point
        ),
        *(
            (y, 0.0)
            for points, (source, target) in zip(positions.edges, ends, strict=True)
            for _, y in points[1:-1]
            if source != target
        ),
    ]
    rows: list[_Row] = []
    for y, half in sorted(halves):
        if rows and y - rows[-1].y < _NEAR:
            rows[-1] = _Row(rows[-1].y, max(rows[-1].half, half))
        else:
            rows.append(_Row(y, half))
    return rows


def _without_duplicates(points: Sequence[Point]) -> tuple[Point, ...]:
    distinct = [points[0]]
    for point in points[1:]:
        if abs(point[0] - distinct[-1][0]) + abs(point[1] - distinct[-1][1]) > _NEAR:
            distinct.append(point)
    return tuple(distinct)


def _bounds(
    boxes: Sequence[Rectangle], routes: Sequence[Sequence[Point]]
) -> tuple[float, float, float, float]:
    """Return the left, top, right and bottom of all boxes and routes."""
    xs = [x for route in routes for x, _ in route]
    ys = [y for route in routes for _, y in route]
    left = min([*(box.left for box in boxes), *xs], default=0)
    right = max([*(box.right for box in boxes), *xs], default=0)
    top = min([*(box.top for box in boxes), *ys], default=0)
    bottom = max([*(box.bottom for box in boxes), *ys], default=0)
    return left, top, right, bottom
