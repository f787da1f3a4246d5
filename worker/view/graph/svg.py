"""A drawing as SVG: one file with nothing from elsewhere, by day and by night.

It is built as a tree, so no text of a workflow can become markup, and it uses no ids, so several
pictures can stand in one page.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree as ET

from worker.view.graph.arrange import arrange
from worker.view.graph.dagre import Point
from worker.view.graph.drawing import Annotation, Arrow, Drawing, DrawnNode, NodeKind, Style
from worker.view.graph.fitting import CHIP, FONTS, Fitted, Line, Role
from worker.view.graph.layout import Layout, Rectangle
from worker.view.graph.legend import Legend, legend_of
from worker.view.graph.palette import TONES, Color, NodeShape
from worker.view.graph.styles import ROOT, SANS, style_sheet
from worker.view.graph.text import width

NAMESPACE = "http://www.w3.org/2000/svg"
_MARGIN, _HEADING = 20.0, 30.0
_HEAD, _HEAD_HALF, _TAIL, _SLIM = 8.0, 4.0, 5.0, 4.0
_BASELINE = 0.35


def svg(drawing: Drawing, *, night: bool = True, sans: str = SANS) -> str:
    """The picture as the text of an SVG file."""
    root = picture(drawing, style_sheet(night=night, sans=sans))
    return ET.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def picture(drawing: Drawing, styles: str = "") -> ET.Element:
    """The picture as an element; without ``styles``, the page around it has the style sheet."""
    layout = arrange(drawing)
    legend = legend_of(drawing, layout.width)
    inner = max(layout.width, legend.width, _heading_width(drawing))
    height = layout.height + 2 * _MARGIN + _HEADING + legend.height
    root = _root(drawing, inner + 2 * _MARGIN, height)
    if styles:
        _add(root, "style").text = styles
    _add(root, "rect", "back", width="100%", height="100%")
    _text(root, drawing.title, "heading", _MARGIN, _MARGIN + 8)
    left = _MARGIN + (inner - layout.width) / 2
    graph = _add(root, "g", transform=f"translate({_n(left)} {_n(_MARGIN + _HEADING)})")
    _draw_graph(graph, drawing, layout)
    _draw_legend(root, legend, _MARGIN + _HEADING + layout.height)
    return root


def _root(drawing: Drawing, across: float, down: float) -> ET.Element:
    root = ET.Element(
        "svg",
        {
            "xmlns": NAMESPACE,
            "class": ROOT,
            "role": "img",
            "aria-label": f"Workflow {drawing.title}: {drawing.summary}",
            "width": _n(across),
            "height": _n(down),
            "viewBox": f"0 0 {_n(across)} {_n(down)}",
        },
    )
    _add(root, "title").text = drawing.title
    _add(root, "desc").text = _description(drawing)
    return root


def _description(drawing: Drawing) -> str:
    """The graph in words, for those who cannot see it."""
    titles = {node.key: node.title for node in drawing.nodes}
    lines = [f"{drawing.summary}, from top to bottom."]
    for edge in drawing.edges:
        says = ", ".join(filter(None, (edge.label, edge.condition)))
        off = " (disabled)" if edge.style is Style.DISABLED else ""
        rule = f": {says}" if says else ""
        lines.append(f"{titles[edge.source]} to {titles[edge.target]}{rule}{off}.")
    return "\n".join(lines)


def _heading_width(drawing: Drawing) -> float:
    return width(drawing.title, 15, bold=True)


def _draw_graph(graph: ET.Element, drawing: Drawing, layout: Layout) -> None:
    """Lines first, so that no label and no box is ever crossed out."""
    groups = []
    for edge, route in zip(drawing.edges, layout.routes, strict=True):
        groups.append(group := _add(graph, "g"))
        _draw_line(group, edge, route)
    for edge, label in zip(drawing.edges, layout.labels, strict=True):
        if label:
            _draw_label(_add(graph, "g"), edge, label)
    for node, box in zip(drawing.nodes, layout.boxes, strict=True):
        _draw_node(_add(graph, "g"), node, box)


def _draw_line(group: ET.Element, edge: Arrow, route: Sequence[Point]) -> None:
    classes = f"{edge.style}{_tone_class(edge.mark)}"
    _add(group, "title").text = edge.tooltip
    end = _before(route)
    path = _path([*route[:-1], end])
    _add(group, "path", f"line {classes}", d=path)
    _add(group, "path", "reach", d=path, stroke="#000")
    _add(group, "path", f"head {classes}", d=_head(end, route[-1]))
    if edge.style is Style.EXPRESSION:
        _add(group, "path", f"tail {classes}", d=_diamond(*route[:2]))


def _diamond(tail: Point, towards: Point) -> str:
    """A diamond at the tail of an edge, which goes upright or sideways there."""
    (x, y), (to_x, to_y) = tail, towards
    if to_y == y:
        along = _TAIL if to_x > x else -_TAIL
        corners = ((0.0, 0.0), (along, -_SLIM), (2 * along, 0.0), (along, _SLIM))
    else:
        along = _TAIL if to_y > y else -_TAIL
        corners = ((0.0, 0.0), (_SLIM, along), (0.0, 2 * along), (-_SLIM, along))
    return "M" + "L".join(f"{_n(x + a)} {_n(y + b)}" for a, b in corners) + "Z"


def _before(route: Sequence[Point]) -> Point:
    """Where the line ends and the head begins."""
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
    """Lines, and curves that leave and arrive upright, as :class:`Layout` says."""
    parts = [f"M{_n(route[0][0])} {_n(route[0][1])}"]
    for (x, y), (to_x, to_y) in pairwise(route):
        if x == to_x or y == to_y:
            parts.append(f"L{_n(to_x)} {_n(to_y)}")
        else:
            middle = _n((y + to_y) / 2)
            parts.append(f"C{_n(x)} {middle} {_n(to_x)} {middle} {_n(to_x)} {_n(to_y)}")
    return "".join(parts)


def _draw_label(group: ET.Element, edge: Arrow, box: Rectangle) -> None:
    _add(group, "title").text = edge.tooltip
    _rect(group, box, "back", radius=4)
    tone = _tone_class(edge.mark)
    _lines(group, box.text, box.x, box.y, f" {edge.style}{tone}")


def _draw_node(group: ET.Element, node: DrawnNode, box: Rectangle) -> None:
    _add(group, "title").text = node.tooltip
    tone = _tone_class(node.mark)
    classes = f"box {node.kind}{tone}"
    if node.kind is NodeKind.TRIGGER:
        _add(group, "path", classes, d=_hexagon(box))
    else:
        _rect(group, box, classes, radius=8)
    shift = 0.0
    if node.mark:
        inset = 14 if node.kind is NodeKind.TRIGGER else 7
        draw_chip(group, TONES[node.mark.tone], box.left + inset + CHIP / 2, box.y)
        shift = CHIP / 2 - 1
    _lines(group, box.text, box.x + shift, box.y, tone)


def _hexagon(box: Rectangle) -> str:
    cut = min(14.0, box.height / 3)
    corners = (
        (box.left, box.y), (box.left + cut, box.top), (box.right - cut, box.top),
        (box.right, box.y), (box.right - cut, box.bottom), (box.left + cut, box.bottom),
    )  # fmt: skip
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in corners) + "Z"


def draw_chip(group: ET.Element, tone: Color, x: float, y: float) -> None:
    """The sign of a tone: an outline and a glyph, told apart without colour."""
    chip = _add(group, "g", transform=f"translate({_n(x)} {_n(y)})")
    _add(chip, "path", f"chip {tone.shape} t-{tone.name}", d=_OUTLINES[tone.shape])
    if tone.glyph:
        lower = {"transform": "translate(0 1.6)"} if tone.shape is NodeShape.TRIANGLE else {}
        solid = " solid" if tone.glyph.endswith("Z") else ""
        _add(chip, "path", f"glyph{solid} t-{tone.name}", d=tone.glyph, **lower)


_CIRCLE = "M-7.5 0A7.5 7.5 0 1 1 7.5 0A7.5 7.5 0 1 1-7.5 0Z"
_OUTLINES = {
    NodeShape.CIRCLE: _CIRCLE,
    NodeShape.RING: _CIRCLE,
    NodeShape.DASHED: _CIRCLE,
    NodeShape.SQUARE: "M-7-7H7V7H-7Z",
    NodeShape.DIAMOND: "M0-9L9 0L0 9L-9 0Z",
    NodeShape.TRIANGLE: "M0-8.5L8.8 7H-8.8Z",
}


def _draw_legend(root: ET.Element, legend: Legend, top: float) -> None:
    for entry in legend.entries:
        x, y = _MARGIN + entry.x, top + entry.y
        if entry.tone:
            draw_chip(root, entry.tone, x + 10, y)
        elif entry.style:
            _add(root, "path", f"line {entry.style}", d=f"M{_n(x)} {_n(y)}h22")
            if entry.style is Style.EXPRESSION:
                _add(root, "path", f"tail {entry.style}", d=_diamond((x, y), (x + 22, y)))
        _text(root, entry.text, "key", x + 28, y + 4)


def _lines(group: ET.Element, fitted: Fitted, x: float, y: float, classes: str) -> None:
    for line in fitted.lines:
        _text(group, line.text, f"{line.role}{classes}", x, y + _baseline(line))


def _baseline(line: Line) -> float:
    return line.middle + FONTS[Role(line.role)].size * _BASELINE


def _rect(group: ET.Element, box: Rectangle, classes: str, *, radius: float) -> None:
    _add(
        group, "rect", classes, x=_n(box.left), y=_n(box.top), width=_n(box.width),
        height=_n(box.height), rx=_n(radius),
    )  # fmt: skip


def _text(parent: ET.Element, text: str, classes: str, x: float, y: float) -> None:
    _add(parent, "text", classes, x=_n(x), y=_n(y)).text = text


def _tone_class(mark: Annotation | None) -> str:
    return f" marked t-{mark.tone}" if mark else ""


def _add(parent: ET.Element, tag: str, classes: str = "", **attributes: str) -> ET.Element:
    return ET.SubElement(parent, tag, {"class": classes, **attributes} if classes else attributes)


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
