"""From dagre's places to boxes, labels and the routes of edges.

dagre gives the order, the columns and the rows. The rows are then set apart by how far edges reach
sideways between them, and edges change columns only between rows: so none crosses a box or label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from worker.view.graph.dagre import Placed, Point
from worker.view.graph.fitting import Fitted
from worker.view.graph.layout import Layout, Rectangle, shifted

_GAP, _SLOPE, _WIDEST_GAP = 22.0, 0.08, 84.0
_PORT_STEP, _PORT_SHARE = 20.0, 0.6
_NEAR = 0.01


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of boxes, or of labels: its middle, and half of its height."""

    y: float
    half: float


class Routing:
    """One part's layout in the making; ``ends`` are the indexes of boxes that each edge joins."""

    def __init__(
        self,
        placed: Placed,
        boxes: Sequence[Fitted],
        labels: Sequence[Fitted],
        ends: Sequence[tuple[int, int]],
    ) -> None:
        self.placed, self.ends = placed, ends
        self.rows = _rows(placed, boxes, labels, ends)
        self.ys = [row.y for row in self.rows]
        self.columns = [self._columns(edge) for edge in range(len(ends))]
        self.moved = self._moved()
        self.boxes = [
            self._box(point, text) for point, text in zip(placed.nodes, boxes, strict=True)
        ]
        self.labels = [
            self._box(point, text) if point and text.lines else None
            for point, text in zip(placed.labels, labels, strict=True)
        ]
        self.ports = self._ports()

    def layout(self) -> Layout:
        """What was arranged, moved to begin at (0, 0)."""
        routes = [self._route(edge) for edge in range(len(self.ends))]
        shown = [*self.boxes, *filter(None, self.labels)]
        xs = [x for route in routes for x, _ in route]
        ys = [y for route in routes for _, y in route]
        left = min([*(box.left for box in shown), *xs], default=0)
        right = max([*(box.right for box in shown), *xs], default=0)
        top = min([*(box.top for box in shown), *ys], default=0)
        bottom = max([*(box.bottom for box in shown), *ys], default=0)
        found = Layout(
            width=right - left,
            height=bottom - top,
            boxes=tuple(self.boxes),
            labels=tuple(self.labels),
            routes=tuple(routes),
        )
        return shifted(found, left, top)

    def _row(self, y: float) -> int:
        return bisect_left(self.ys, y - _NEAR)

    def _box(self, point: Point, text: Fitted) -> Rectangle:
        row = self.moved[self._row(point[1])]
        return Rectangle(x=point[0], y=row.y, width=text.width, height=text.height, text=text)

    def _columns(self, edge: int) -> list[tuple[float, int]]:
        """The (x, row) that an edge passes between its ends; none for a loop."""
        source, target = self.ends[edge]
        if source == target:
            return []
        return [(x, self._row(y)) for x, y in self.placed.edges[edge][1:-1]]

    def _stops(self, edge: int) -> list[tuple[float, int]]:
        """The columns between the middles of the boxes that an edge joins."""
        first, last = (self.placed.nodes[end] for end in self.ends[edge])
        return [(first[0], self._row(first[1])), *self.columns[edge], (last[0], self._row(last[1]))]

    def _moved(self) -> list[_Row]:
        """The rows, each as far from the one above as the edges between them need."""
        reach: dict[int, float] = defaultdict(float)
        for edge in range(len(self.ends)):
            for (x, from_row), (next_x, to_row) in pairwise(self._stops(edge)):
                upper = min(from_row, to_row)
                reach[upper] = max(reach[upper], abs(next_x - x))
        rows: list[_Row] = []
        bottom = 0.0
        for number, row in enumerate(self.rows):
            gap = min(_WIDEST_GAP, _GAP + _SLOPE * reach[number - 1]) if number else 0
            rows.append(_Row(bottom + gap + row.half, row.half))
            bottom += gap + 2 * row.half
        return rows

    def _ports(self) -> dict[tuple[int, bool], float]:
        """Where an edge leaves its source (edge, False) and meets its target (edge, True), by x.

        The edges on one side of a box stand in the order of where they come from or lead to.
        """
        sides: dict[tuple[int, bool], list[tuple[float, int, bool]]] = defaultdict(list)
        for edge, (source, target) in enumerate(self.ends):
            if source == target:
                continue
            columns = self.columns[edge]
            down = self.boxes[source].y < self.boxes[target].y
            leads_to = columns[0][0] if columns else self.boxes[target].x
            comes_from = columns[-1][0] if columns else self.boxes[source].x
            sides[source, down].append((leads_to, edge, False))
            sides[target, not down].append((comes_from, edge, True))
        ports = {}
        for (node, _), found in sides.items():
            box = self.boxes[node]
            step = min(_PORT_STEP, box.width * _PORT_SHARE / max(1, len(found) - 1))
            left = box.x - step * (len(found) - 1) / 2
            for number, (_, edge, arrives) in enumerate(sorted(found)):
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
        (_, first_row), *columns, (_, last_row) = self._stops(edge)
        for x, number in [(leaves, first_row), *columns, (arrives, last_row)]:
            row = self.moved[number]
            points += [(x, row.y - side * row.half), (x, row.y + side * row.half)]
        # Before the box that it leaves, and behind the one that it meets, no edge has a way.
        points = [points[0], *points[2:-1], (arrives, last.top if down else last.bottom)]
        return _without_doubles(points)

    def _loop(self, edge: int) -> tuple[Point, ...]:
        """From the side of a box around the edge's label and back."""
        box, label = self.boxes[self.ends[edge][0]], self.labels[edge]
        farthest = max((x for x, _ in self.placed.edges[edge]), key=lambda x: abs(x - box.x))
        around = label.x if label else farthest
        side = box.right if around > box.x else box.left
        half = min(box.height / 2 - 6, label.height / 2 + 6 if label else 10)
        upper, lower = box.y - half, box.y + half
        return ((side, upper), (around, upper), (around, lower), (side, lower))


def _rows(
    placed: Placed,
    boxes: Sequence[Fitted],
    labels: Sequence[Fitted],
    ends: Sequence[tuple[int, int]],
) -> list[_Row]:
    """Every height at which dagre put something, with the half of what is highest there."""
    halves: list[tuple[float, float]] = [
        *((y, box.height / 2) for (_, y), box in zip(placed.nodes, boxes, strict=True)),
        *(
            (point[1], label.height / 2)
            for point, label in zip(placed.labels, labels, strict=True)
            if point
        ),
        *(
            (y, 0.0)
            for points, (source, target) in zip(placed.edges, ends, strict=True)
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


def _without_doubles(points: Sequence[Point]) -> tuple[Point, ...]:
    kept = [points[0]]
    for point in points[1:]:
        if abs(point[0] - kept[-1][0]) + abs(point[1] - kept[-1][1]) > _NEAR:
            kept.append(point)
    return tuple(kept)
