"""Layout of a drawing: dagre lays out each component, and the components are packed on shelves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from worker.view.graph.components import Component, connected_components, pack_on_shelves
from worker.view.graph.dagre import DagreGraph, DagreLayout, Point, run_dagre
from worker.view.graph.drawing import Drawing
from worker.view.graph.edge_router import EdgeRouter
from worker.view.graph.layout import Layout, Rectangle, shift
from worker.view.graph.text_blocks import TextBlock, measure_label, measure_node


def compute_layout(drawing: Drawing) -> Layout:
    """Compute the positions of all boxes, labels and edges.

    Raises UsageError for a drawing that is too large.
    """
    leaving = Counter(edge.source for edge in drawing.edges)
    arriving = Counter(edge.target for edge in drawing.edges)
    boxes = [
        measure_node(node, max(leaving[node.key], arriving[node.key])) for node in drawing.nodes
    ]
    labels = [measure_label(edge) for edge in drawing.edges]
    index = {node.key: number for number, node in enumerate(drawing.nodes)}
    ends = [(index[edge.source], index[edge.target]) for edge in drawing.edges]
    components = connected_components(len(boxes), ends)
    graphs = [_dagre_graph(component, boxes, labels, ends) for component in components]
    layouts = []
    for component, graph, positions in zip(components, graphs, run_dagre(graphs), strict=True):
        own_ends = [(source, target) for source, target, _, _ in graph.edges]
        own_boxes = [boxes[node] for node in component.nodes]
        own_labels = [labels[edge] for edge in component.edges]
        oriented = _in_file_order(positions, own_ends)
        layouts.append(EdgeRouter(oriented, own_boxes, own_labels, own_ends).layout())
    return _packed(components, layouts)


def _dagre_graph(
    component: Component,
    boxes: Sequence[TextBlock],
    labels: Sequence[TextBlock],
    ends: Sequence[tuple[int, int]],
) -> DagreGraph:
    own = {node: number for number, node in enumerate(component.nodes)}
    return DagreGraph(
        nodes=[(boxes[node].width, boxes[node].height) for node in component.nodes],
        edges=[
            (own[ends[edge][0]], own[ends[edge][1]], labels[edge].width, labels[edge].height)
            for edge in component.edges
        ],
    )


def _packed(components: Sequence[Component], layouts: Sequence[Layout]) -> Layout:
    boxes: dict[int, Rectangle] = {}
    labels: dict[int, Rectangle | None] = {}
    routes: dict[int, tuple[Point, ...]] = {}
    places, width, height = pack_on_shelves([(layout.width, layout.height) for layout in layouts])
    for component, layout, (left, top) in zip(components, layouts, places, strict=True):
        moved = shift(layout, -left, -top)
        boxes |= zip(component.nodes, moved.boxes, strict=True)
        labels |= zip(component.edges, moved.labels, strict=True)
        routes |= zip(component.edges, moved.routes, strict=True)
    return Layout(
        width=width,
        height=height,
        boxes=tuple(boxes[number] for number in sorted(boxes)),
        labels=tuple(labels[number] for number in sorted(labels)),
        routes=tuple(routes[number] for number in sorted(routes)),
    )


def _in_file_order(positions: DagreLayout, ends: Sequence[tuple[int, int]]) -> DagreLayout:
    # dagre does not keep the order of siblings. Authors look for the steps in the order in which
    # they wrote them, so the layout is mirrored where that comes nearer to it.
    order = 0
    for (source, target), (next_source, next_target) in pairwise(ends):
        if source == next_source:
            left, right = positions.nodes[target][0], positions.nodes[next_target][0]
            order += (left < right) - (left > right)
    return positions if order >= 0 else positions.mirrored()
