"""SVG output: a self-contained file in a light and a dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

from worker.view.graph.annotation_styles import ANNOTATION_STYLES, AnnotationStyle, ChipShape
from worker.view.graph.dagre import Point
from worker.view.graph.drawing import Annotation, Drawing, DrawnEdge, DrawnNode, EdgeStyle, NodeKind
from worker.view.graph.layout import Layout, Rectangle
from worker.view.graph.layout_engine import compute_layout
from worker.view.graph.legend import Legend, build_legend
from worker.view.graph.text import text_width, wrap
from worker.view.graph.text_blocks import CHIP_SIZE, FONTS, TextBlock, TextLine, TextRole, has_chip
from worker.view.graph.themes import ROOT, SANS, style_sheet

# The file is built as an XML tree, so that no text of a workflow can become markup. It has no ids,
# so that a page can contain several graphs.
NAMESPACE = "http://www.w3.org/2000/svg"
_MARGIN, _HEADING = 20.0, 30.0
_HEADING_SIZE, _MIN_HEADING = 15.0, 360.0
_HEAD, _HEAD_HALF, _TAIL, _SLIM = 8.0, 4.0, 5.0, 4.0
# The middle of small letters is about this part of the font size above the baseline.
_BASELINE = 0.35


def render_svg(drawing: Drawing, *, dark: bool = True, sans: str = SANS) -> str:
    """Render the graph as an SVG file."""
    root = svg_element(drawing, style_sheet(dark=dark, sans=sans))
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def svg_element(drawing: Drawing, styles: str = "", *, heading: bool = True) -> ET.Element:
    """Render the graph as an element. Without ``styles``, the page must have the style sheet.

    A page that has the workflow's name as its title leaves out the ``heading``.
    """
    layout = compute_layout(drawing)
    legend = build_legend(drawing, layout.width)
    inner = max(layout.width, legend.width)
    title = ""
    if heading:
        # A long name must not make the graph wider: a page would scale down all of its text.
        title = wrap(drawing.title, max(inner, _MIN_HEADING), _HEADING_SIZE, 1, bold=True)[0]
        inner = max(inner, text_width(title, _HEADING_SIZE, bold=True))
    top = _MARGIN + (_HEADING if heading else 0)
    height = layout.height + top + _MARGIN + legend.height
    root = _root(drawing, inner + 2 * _MARGIN, height)
    if styles:
        _add(root, "style").text = styles
    _add(root, "rect", "back", width="100%", height="100%")
    if heading:
        _text(root, title, "heading", _MARGIN, _MARGIN + 8)
    left = _MARGIN + (inner - layout.width) / 2
    graph = _add(root, "g", transform=f"translate({_n(left)} {_n(top)})")
    _draw_graph(graph, drawing, layout)
    _draw_legend(root, legend, top + layout.height)
    return root


def _root(drawing: Drawing, width: float, height: float) -> ET.Element:
    root = ET.Element(
        "svg",
        {
            "xmlns": NAMESPACE,
            "class": ROOT,
            "role": "img",
            "aria-label": f"Workflow {drawing.title}: {drawing.summary}",
            "width": _n(width),
            "height": _n(height),
            "viewBox": f"0 0 {_n(width)} {_n(height)}",
        },
    )
    _add(root, "title").text = drawing.title
    _add(root, "desc").text = _description(drawing)
    return root


def _description(drawing: Drawing) -> str:
    """Describe the graph in text, for screen readers."""
    titles = {node.key: node.title for node in drawing.nodes}
    lines = [f"{drawing.summary}, from top to bottom."]
    for edge in drawing.edges:
        condition = ", ".join(filter(None, (edge.label, edge.condition)))
        off = " (disabled)" if edge.style is EdgeStyle.DISABLED else ""
        rule = f": {condition}" if condition else ""
        lines.append(f"{titles[edge.source]} to {titles[edge.target]}{rule}{off}.")
    return "\n".join(lines)


def _draw_graph(graph: ET.Element, drawing: Drawing, layout: Layout) -> None:
    # Lines come first, so that labels and boxes are drawn over them.
    for edge, route in zip(drawing.edges, layout.routes, strict=True):
        _draw_line(_add(graph, "g"), edge, route)
    for edge, label in zip(drawing.edges, layout.labels, strict=True):
        if label:
            _draw_label(_add(graph, "g"), edge, label)
    for node, box in zip(drawing.nodes, layout.boxes, strict=True):
        _draw_node(_add(graph, "g"), node, box)


def _draw_line(group: ET.Element, edge: DrawnEdge, route: Sequence[Point]) -> None:
    classes = f"{edge.style}{_style_class(edge.annotation)}"
    _add(group, "title").text = edge.tooltip
    end = _head_base(route)
    path = _path([*route[:-1], end])
    weight = f" w{edge.annotation.weight}" if edge.annotation and edge.annotation.weight else ""
    _add(group, "path", f"line {classes}{weight}", d=path)
    # A wide invisible line: a thin one is hard to point at.
    _add(group, "path", "reach", d=path, stroke="#000")
    _add(group, "path", f"head {classes}", d=_head(end, route[-1]))
    if edge.style is EdgeStyle.EXPRESSION:
        _add(group, "path", f"tail {classes}", d=_diamond(*route[:2]))


def _diamond(tail: Point, towards: Point) -> str:
    (x, y), (to_x, to_y) = tail, towards
    if to_y == y:
        along = _TAIL if to_x > x else -_TAIL
        corners = ((0.0, 0.0), (along, -_SLIM), (2 * along, 0.0), (along, _SLIM))
    else:
        along = _TAIL if to_y > y else -_TAIL
        corners = ((0.0, 0.0), (_SLIM, along), (0.0, 2 * along), (-_SLIM, along))
    return "M" + "L".join(f"{_n(x + a)} {_n(y + b)}" for a, b in corners) + "Z"


def _head_base(route: Sequence[Point]) -> Point:
    """Return the point where the line ends and the arrow head begins."""
    # A line to the tip would be wider there than the head.
    (from_x, from_y), (x, y) = route[-2:]
    if from_y == y:
        return (x + (_HEAD if from_x > x else -_HEAD), y)
    return (x, y - (_HEAD if from_y < y else -_HEAD))


def _head(base: Point, tip: Point) -> str:
    (x, y), (to_x, to_y) = base, tip
    across, down = (_HEAD_HALF, 0.0) if x == to_x else (0.0, _HEAD_HALF)
    corners = ((x - across, y - down), (x + across, y + down), (to_x, to_y))
    return "M" + "L".join(f"{_n(a)} {_n(b)}" for a, b in corners) + "Z"


def _path(route: Sequence[Point]) -> str:
    """Write the path data of a route; see :class:`Layout`."""
    parts = [f"M{_n(route[0][0])} {_n(route[0][1])}"]
    for (x, y), (to_x, to_y) in pairwise(route):
        if x == to_x or y == to_y:
            parts.append(f"L{_n(to_x)} {_n(to_y)}")
        else:
            middle = _n((y + to_y) / 2)
            parts.append(f"C{_n(x)} {middle} {_n(to_x)} {middle} {_n(to_x)} {_n(to_y)}")
    return "".join(parts)


def _draw_label(group: ET.Element, edge: DrawnEdge, box: Rectangle) -> None:
    _add(group, "title").text = edge.tooltip
    _rect(group, box, "back", radius=4)
    style = _style_class(edge.annotation)
    _lines(group, box.text, box.x, box.y, f" {edge.style}{style}")


def _draw_node(group: ET.Element, node: DrawnNode, box: Rectangle) -> None:
    _add(group, "title").text = node.tooltip
    style = _style_class(node.annotation)
    classes = f"box {node.kind}{style}"
    if node.kind is NodeKind.TRIGGER:
        _add(group, "path", classes, d=_hexagon(box))
    else:
        _rect(group, box, classes, radius=8)
    shift = 0.0
    if node.annotation and has_chip(node.annotation):
        inset = 14 if node.kind is NodeKind.TRIGGER else 7
        draw_chip(
            group, ANNOTATION_STYLES[node.annotation.style], box.left + inset + CHIP_SIZE / 2, box.y
        )
        shift = CHIP_SIZE / 2 - 1
    _lines(group, box.text, box.x + shift, box.y, style)


def _hexagon(box: Rectangle) -> str:
    cut = min(14.0, box.height / 3)
    corners = (
        (box.left, box.y), (box.left + cut, box.top), (box.right - cut, box.top),
        (box.right, box.y), (box.right - cut, box.bottom), (box.left + cut, box.bottom),
    )  # fmt: skip
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in corners) + "Z"


def draw_chip(group: ET.Element, style: AnnotationStyle, x: float, y: float) -> None:
    """Draw the chip of a style: an outline and a glyph."""
    chip = _add(group, "g", transform=f"translate({_n(x)} {_n(y)})")
    _add(chip, "path", f"chip {style.shape} t-{style.name}", d=_OUTLINES[style.shape])
    if style.glyph:
        # The optical center of a triangle is below the middle of its box.
        lower = {"transform": "translate(0 1.6)"} if style.shape is ChipShape.TRIANGLE else {}
        solid = " solid" if style.glyph.endswith("Z") else ""
        _add(chip, "path", f"glyph{solid} t-{style.name}", d=style.glyph, **lower)


_CIRCLE = "M-7.5 0A7.5 7.5 0 1 1 7.5 0A7.5 7.5 0 1 1-7.5 0Z"
_OUTLINES = {
    ChipShape.CIRCLE: _CIRCLE,
    ChipShape.RING: _CIRCLE,
    ChipShape.DASHED: _CIRCLE,
    ChipShape.SQUARE: "M-7-7H7V7H-7Z",
    ChipShape.DIAMOND: "M0-9L9 0L0 9L-9 0Z",
    ChipShape.TRIANGLE: "M0-8.5L8.8 7H-8.8Z",
}


def _draw_legend(root: ET.Element, legend: Legend, top: float) -> None:
    for entry in legend.entries:
        x, y = _MARGIN + entry.x, top + entry.y
        if entry.annotation_style and entry.annotation_style.of_path:
            line = f"line marked t-{entry.annotation_style.name}"
            _add(root, "path", line, d=f"M{_n(x)} {_n(y)}h22")
        elif entry.annotation_style:
            draw_chip(root, entry.annotation_style, x + 10, y)
        elif entry.edge_style:
            _add(root, "path", f"line {entry.edge_style}", d=f"M{_n(x)} {_n(y)}h22")
            if entry.edge_style is EdgeStyle.EXPRESSION:
                _add(root, "path", f"tail {entry.edge_style}", d=_diamond((x, y), (x + 22, y)))
        _text(root, entry.text, "key", x + 28, y + 4)


def _lines(group: ET.Element, fitted: TextBlock, x: float, y: float, classes: str) -> None:
    for line in fitted.lines:
        _text(group, line.text, f"{line.role}{classes}", x, y + _baseline(line))


def _baseline(line: TextLine) -> float:
    return line.middle + FONTS[TextRole(line.role)].size * _BASELINE


def _rect(group: ET.Element, box: Rectangle, classes: str, *, radius: float) -> None:
    _add(
        group, "rect", classes, x=_n(box.left), y=_n(box.top), width=_n(box.width),
        height=_n(box.height), rx=_n(radius),
    )  # fmt: skip


def _text(parent: ET.Element, text: str, classes: str, x: float, y: float) -> None:
    _add(parent, "text", classes, x=_n(x), y=_n(y)).text = text


def _style_class(annotation: Annotation | None) -> str:
    return f" marked t-{annotation.style}" if annotation else ""


def _add(parent: ET.Element, tag: str, classes: str = "", **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, {"class": classes, **attributes} if classes else attributes)


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
