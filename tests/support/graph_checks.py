"""Checks of rendered graphs: no overlaps, and no text that becomes syntax."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations, pairwise
from xml.etree import ElementTree as ET

from worker.view.graph.drawing import Drawing
from worker.view.graph.layout import Layout, Rectangle
from worker.view.graph.layout_engine import compute_layout
from worker.view.graph.svg import NAMESPACE

TAGS = {"svg", "title", "desc", "style", "rect", "g", "path", "text"}
ATTRIBUTES = {
    "aria-label", "class", "d", "height", "role", "rx", "stroke", "transform", "viewBox", "width", "x", "y",
}  # fmt: skip


def overlap(one: Rectangle, other: Rectangle) -> bool:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return across > 0.1 and down > 0.1


def on_the_way(route: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Points along a route, its curves as they are drawn."""
    points = []
    for (x, y), (to_x, to_y) in pairwise(route):
        for part in (step / 12 for step in range(1, 12)):
            turned = 3 * part**2 - 2 * part**3 if y != to_y else part
            middle = (y + to_y) / 2
            along = (1 - part) ** 3 * y + 3 * (1 - part) * part * middle + part**3 * to_y
            points.append(
                (
                    x + turned * (to_x - x),
                    along if x != to_x and y != to_y else y + part * (to_y - y),
                )
            )
    return points


def inside(point: tuple[float, float], box: Rectangle) -> bool:
    x, y = point
    return box.left + 0.5 < x < box.right - 0.5 and box.top + 0.5 < y < box.bottom - 0.5


def check_layout(drawing: Drawing) -> Layout:
    """Nothing lies over anything, all of it within the bounds."""
    layout = compute_layout(drawing)
    labels = [label for label in layout.labels if label]
    for one, other in combinations([*layout.boxes, *labels], 2):
        assert not overlap(one, other), (one, other)
    for box in (*layout.boxes, *labels):
        assert box.left >= -0.1 and box.right <= layout.width + 0.1
        assert box.top >= -0.1 and box.bottom <= layout.height + 0.1
    index = {node.key: box for node, box in zip(drawing.nodes, layout.boxes, strict=True)}
    for edge, own, route in zip(drawing.edges, layout.labels, layout.routes, strict=True):
        others = [box for box in (*layout.boxes, *labels) if box is not own]
        for point in on_the_way(route):
            assert not any(inside(point, box) for box in others), (edge, point)
        if edge.source != edge.target:
            assert abs(route[0][0] - index[edge.source].x) <= index[edge.source].width / 2
            assert abs(route[-1][0] - index[edge.target].x) <= index[edge.target].width / 2
    return layout


def check_svg(text: str) -> ET.Element:
    """Check that it is XML of elements and attributes that draw, and loads nothing."""
    root = ET.fromstring(text)
    for element in root.iter():
        assert element.tag.removeprefix(f"{{{NAMESPACE}}}") in TAGS
        assert set(element.attrib) <= ATTRIBUTES
        if element.tag.endswith("style"):
            assert element.text is not None
            assert not re.search(r"url|@import|http|expression\(|<|&", element.text)
    return root


class Page(HTMLParser):
    """A page as a browser parses it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.policy, self.styles, self._inside = "", "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._inside = tag
        found = dict(attrs)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def check_html(text: str) -> None:
    page = Page(text)
    assert page.tags <= TAGS | {
        "html", "head", "meta", "body", "main", "div", "details", "summary", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert page.attributes <= {name.lower() for name in ATTRIBUTES} | {
        "lang", "charset", "http-equiv", "content", "name", "tabindex", "xmlns",
    }  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(page.styles.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; ")


_MERMAID = re.compile(
    r'  n\d+(?:\{\{"[^"]*"\}\}|\("[^"]*"\)|\["[^"]*"\])(?::::\w+)?'
    r'|  n\d+ (?:-->|-\.->|-\.-x)(?:\|"[^"]*"\|)? n\d+'
    r"|  linkStyle \d+ stroke:#\w+(?:,stroke-width:3px)?|  classDef \w+ [\w:,# -]+"
)


def check_mermaid(text: str) -> None:
    """Every line is a statement that we write, and no label has a sign with a meaning."""
    head, chart = text.split("\nflowchart TD\n")
    title = head.removeprefix("---\ntitle: ").removesuffix("\n---")
    assert isinstance(json.loads(title), str) and not re.search(r"[%<>{}]", title)
    for line in chart.splitlines():
        assert _MERMAID.fullmatch(line), line
        for label in re.findall(r'"([^"]*)"', line):
            bare = re.sub(r"#\d+;|<br>", "", label)
            assert not re.search(r"[%<>{}|;#&`\\*\[\]$~^!]", bare), label


def check_dot(text: str) -> None:
    for line in text.splitlines()[1:-1]:
        plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
        assert re.fullmatch(
            r'  (?:n\d+|n\d+ -> n\d+|graph|node|edge) \[(?:\w+=[\w""]+(?:, )?)*\]', plain
        ), line


CHECKS: dict[str, Callable[[bytes], object]] = {
    "svg": lambda found: check_svg(found.decode()),
    "html": lambda found: check_html(found.decode()),
    "png": lambda found: check_png(found),
    "mmd": lambda found: check_mermaid(found.decode()),
    "dot": lambda found: check_dot(found.decode()),
}


def check_png(found: bytes) -> None:
    assert found.startswith(b"\x89PNG\r\n\x1a\n") and len(found) > 1000
