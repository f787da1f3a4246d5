"""From a drawing to a layout: each part of the graph by dagre, and the parts side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from worker.view.graph.dagre import Placed, Point, Sizes, place
from worker.view.graph.drawing import Drawing
from worker.view.graph.fitting import Fitted, fit_label, fit_node
from worker.view.graph.layout import Layout, Rectangle, shifted
from worker.view.graph.parts import LayoutPart, parts_of, shelved
from worker.view.graph.routes import Routing


def arrange(drawing: Drawing) -> Layout:
    """Places for a drawing. Raises UsageError for one that is too large."""
    leaving = Counter(edge.source for edge in drawing.edges)
    arriving = Counter(edge.target for edge in drawing.edges)
    boxes = [fit_node(node, max(leaving[node.key], arriving[node.key])) for node in drawing.nodes]
    labels = [fit_label(edge) for edge in drawing.edges]
    index = {node.key: number for number, node in enumerate(drawing.nodes)}
    ends = [(index[edge.source], index[edge.target]) for edge in drawing.edges]
    parts = parts_of(len(boxes), ends)
    graphs = [_sizes(part, boxes, labels, ends) for part in parts]
    layouts = []
    for part, graph, placed in zip(parts, graphs, place(graphs), strict=True):
        own_ends = [(source, target) for source, target, _, _ in graph.edges]
        own_boxes = [boxes[node] for node in part.nodes]
        own_labels = [labels[edge] for edge in part.edges]
        turned = _mirrored(placed, own_ends)
        layouts.append(Routing(turned, own_boxes, own_labels, own_ends).layout())
    return _packed(parts, layouts)


def _sizes(
    part: LayoutPart,
    boxes: Sequence[Fitted],
    labels: Sequence[Fitted],
    ends: Sequence[tuple[int, int]],
) -> Sizes:
    own = {node: number for number, node in enumerate(part.nodes)}
    return Sizes(
        nodes=[(boxes[node].width, boxes[node].height) for node in part.nodes],
        edges=[
            (own[ends[edge][0]], own[ends[edge][1]], labels[edge].width, labels[edge].height)
            for edge in part.edges
        ],
    )


def _packed(parts: Sequence[LayoutPart], layouts: Sequence[Layout]) -> Layout:
    """The layouts of the parts as one, beside and below each other."""
    boxes: dict[int, Rectangle] = {}
    labels: dict[int, Rectangle | None] = {}
    routes: dict[int, tuple[Point, ...]] = {}
    places, width, height = shelved([(one.width, one.height) for one in layouts])
    for part, one, (left, top) in zip(parts, layouts, places, strict=True):
        moved = shifted(one, -left, -top)
        boxes |= zip(part.nodes, moved.boxes, strict=True)
        labels |= zip(part.edges, moved.labels, strict=True)
        routes |= zip(part.edges, moved.routes, strict=True)
    return Layout(
        width=width,
        height=height,
        boxes=tuple(boxes[number] for number in sorted(boxes)),
        labels=tuple(labels[number] for number in sorted(labels)),
        routes=tuple(routes[number] for number in sorted(routes)),
    )


def _mirrored(placed: Placed, ends: Sequence[tuple[int, int]]) -> Placed:
    """The same from right to left, where that is nearer to the order of the file."""
    order = 0
    for (source, target), (next_source, next_target) in pairwise(ends):
        if source == next_source:
            left, right = placed.nodes[target][0], placed.nodes[next_target][0]
            order += (left < right) - (left > right)
    return placed if order >= 0 else placed.mirrored()
