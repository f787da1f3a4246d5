"""A drawing as SVG: one file, light and dark, readable without colours, and nothing in it runs.

It is built as a tree of elements, so that no text of a workflow can become anything but text.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from worker.pictures.drawing import Arrow, Box, Drawing
from worker.pictures.layout import BOX_HEIGHT, LABEL_HEIGHT, Layout, Point, label_width, lay_out

STYLE = """
svg { font: 13px system-ui, sans-serif; background: var(--paper);
  --paper: #fff; --ink: #1f2933; --soft: #5f6b7a; --line: #8a96a3; --box: #f5f7fa;
  --good: #1a7f37; --partly: #9a6700; --bad: #cf222e; --goodfill: #dafbe1; --partlyfill: #fff8c5;
  --badfill: #ffebe9; --trigger: #ddf4ff; --blue: #0969da; }
@media (prefers-color-scheme: dark) { svg {
  --paper: #0d1117; --ink: #e6edf3; --soft: #9da7b3; --line: #6e7681; --box: #161b22;
  --good: #3fb950; --partly: #d29922; --bad: #f85149; --goodfill: #12261e; --partlyfill: #2e2111;
  --badfill: #25171c; --trigger: #121d2f; --blue: #58a6ff; } }
text { fill: var(--ink); } .soft { fill: var(--soft); font-size: 11px; }
.box { fill: var(--box); stroke: var(--line); stroke-width: 1.2; }
.trigger { fill: var(--trigger); stroke: var(--blue); } .empty { stroke-dasharray: 2 3; }
.missing { stroke: var(--bad); stroke-dasharray: 4 3; }
.edge { fill: none; stroke: var(--line); stroke-width: 1.5; }
.covered { stroke: var(--good); fill: var(--goodfill); stroke-width: 2; }
.partly { stroke: var(--partly); fill: var(--partlyfill); stroke-width: 2; }
.missed { stroke: var(--bad); fill: var(--badfill); stroke-width: 2; }
.failure { stroke-dasharray: 7 4; } .disabled, .never { stroke-dasharray: 1 5; opacity: .7; }
.edge.covered, .edge.partly, .edge.missed { fill: none; }
.label { font-size: 11px; text-anchor: middle; } .plate { fill: var(--paper); opacity: .85; }
.badge { text-anchor: end; font-weight: 600; } .head { fill: var(--line); }
"""


def svg(drawing: Drawing) -> str:
    """The text of an SVG file."""
    return Xml.tostring(svg_tree(drawing), encoding="unicode")


def svg_tree(drawing: Drawing) -> Xml.Element:
    """The element that holds the picture."""
    layout = lay_out(drawing)
    root = Xml.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {layout.width:.0f} {layout.height:.0f}",
            "width": f"{layout.width:.0f}",
            "height": f"{layout.height:.0f}",
            "role": "img",
            "aria-label": f"The graph of {drawing.title}",
        },
    )
    Xml.SubElement(root, "style").text = STYLE
    _arrow_heads(root)
    for place, arrow in enumerate(drawing.arrows):
        _edge(root, arrow, layout.arrows[place])
    for place, arrow in enumerate(drawing.arrows):
        _label(root, arrow, layout.labels[place])
    for place, box in enumerate(drawing.boxes):
        _box(root, box, layout, place)
    return root


def _arrow_heads(root: Xml.Element) -> None:
    marker = Xml.SubElement(
        Xml.SubElement(root, "defs"),
        "marker",
        {"id": "head", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "markerWidth": "7",
         "markerHeight": "7", "orient": "auto"},
    )  # fmt: skip
    Xml.SubElement(marker, "path", {"class": "head", "d": "M0 0 L8 4 L0 8 z"})


def _edge(root: Xml.Element, arrow: Arrow, points: Sequence[Point]) -> None:
    path = Xml.SubElement(
        root,
        "path",
        {"class": f"edge {arrow.style} {arrow.mark.tone}".strip(), "d": _curve(points),
         "marker-end": "url(#head)"},
    )  # fmt: skip
    _tooltip(path, arrow.full, arrow.mark.note)


def _curve(points: Sequence[Point]) -> str:
    """A smooth line: curves whose joints are halfway between the points."""
    first, *rest = points
    text = f"M{first[0]:g} {first[1]:g}"
    for at, following in itertools.pairwise(rest):
        middle = (at[0] + following[0]) / 2, (at[1] + following[1]) / 2
        text += f" Q{at[0]:g} {at[1]:g} {middle[0]:g} {middle[1]:g}"
    return f"{text} L{points[-1][0]:g} {points[-1][1]:g}"


def _label(root: Xml.Element, arrow: Arrow, centre: Point) -> None:
    words = f"{arrow.label} {arrow.mark.badge}".strip()
    if not words:
        return
    width = label_width(arrow)
    left, top = centre[0] - width / 2, centre[1] - LABEL_HEIGHT / 2
    group = Xml.SubElement(root, "g")
    Xml.SubElement(
        group,
        "rect",
        {"class": "plate", "x": f"{left:g}", "y": f"{top:g}", "width": f"{width:g}",
         "height": f"{LABEL_HEIGHT:g}", "rx": "4"},
    )  # fmt: skip
    text = Xml.SubElement(
        group, "text", {"class": "label", "x": f"{centre[0]:g}", "y": f"{centre[1] + 4:g}"}
    )
    text.text = words
    _tooltip(group, arrow.full, arrow.mark.note)


def _box(root: Xml.Element, box: Box, layout: Layout, place: int) -> None:
    (x, y), width = layout.boxes[place], layout.widths[place]
    left, top = x - width / 2, y - BOX_HEIGHT / 2
    group = Xml.SubElement(root, "g")
    corner = BOX_HEIGHT / 2 if box.kind == "trigger" else 6
    Xml.SubElement(
        group,
        "rect",
        {"class": f"box {box.kind} {box.mark.tone}".strip(), "x": f"{left:g}", "y": f"{top:g}",
         "width": f"{width:g}", "height": f"{BOX_HEIGHT:g}", "rx": f"{corner:g}"},
    )  # fmt: skip
    indent = 20 if box.kind == "trigger" else 12
    title = f"⚡ {box.title}" if box.kind == "trigger" else box.title
    _text(group, "", left + indent, top + (20 if box.subtitle else 28), title)
    if box.subtitle:
        _text(group, "soft", left + indent, top + 36, box.subtitle)
    if box.mark.badge:
        _text(group, "badge", left + width - 10, top + 20, box.mark.badge)
    _tooltip(group, box.id, box.mark.note)


def _text(parent: Xml.Element, style: str, x: float, y: float, words: str) -> None:
    named = {"class": style} if style else {}
    Xml.SubElement(parent, "text", {**named, "x": f"{x:g}", "y": f"{y:g}"}).text = words


def _tooltip(element: Xml.Element, *parts: str) -> None:
    words = "\n".join(part for part in parts if part)
    if words:
        title = Xml.Element("title")
        title.text = words
        element.insert(0, title)


def html(drawing: Drawing) -> str:
    """A page with the picture in it, that asks for nothing and runs nothing."""
    page = Xml.Element("html", {"lang": "en"})
    head = Xml.SubElement(page, "head")
    Xml.SubElement(head, "meta", {"charset": "utf-8"})
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    Xml.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": policy})
    Xml.SubElement(head, "meta", {"name": "viewport", "content": "width=device-width"})
    Xml.SubElement(head, "title").text = drawing.title
    Xml.SubElement(head, "style").text = PAGE
    body = Xml.SubElement(page, "body")
    Xml.SubElement(body, "h1").text = drawing.title
    Xml.SubElement(body, "main").append(svg_tree(drawing))
    return "<!doctype html>\n" + Xml.tostring(page, encoding="unicode", method="html")


PAGE = """
:root { color-scheme: light dark; } body { margin: 1rem; font: 16px system-ui, sans-serif; }
h1 { font-size: 1.1rem; } main { overflow: auto; } svg { max-width: 100%; height: auto; }
"""
