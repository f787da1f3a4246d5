"""HTML output: a page with the graph and the edges as a table.

The page has no script. Its content security policy allows one style sheet, by hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from worker.view.graph.drawing import Drawing, DrawnEdge
from worker.view.graph.svg import svg_element
from worker.view.graph.themes import DARK, LIGHT, SANS, style_sheet

# Below this scale the labels are unreadable: the graph then scrolls in its frame.
_LEAST_SCALE = 0.65
_HEADINGS = ("From", "To", "Condition")


def render_html(drawing: Drawing) -> str:
    """Render a page with the graph and its edges as a table."""
    return _render_page(f"{drawing.title}: workflow", [drawing], ())


def render_side_by_side(old: Drawing, new: Drawing, lines: Sequence[str]) -> str:
    """Render a page with two versions of a workflow beside each other, above lines of text."""
    return _render_page(f"{new.title}: two versions", [old, new], lines)


def _render_page(title: str, drawings: Sequence[Drawing], lines: Sequence[str]) -> str:
    page, main = open_page(title, drawings)
    add_graphs(main, drawings)
    if lines:
        ET.SubElement(main, "pre").text = "\n".join(lines)
    return page_text(page)


def open_page(title: str, drawings: Sequence[Drawing]) -> tuple[ET.Element, ET.Element]:
    """Begin a page that shows drawings; return it and the element for its content."""
    styles = _page_styles(max(_width(drawing) for drawing in drawings))
    page = ET.Element("html", {"lang": "en"})
    head = ET.SubElement(page, "head")
    ET.SubElement(head, "meta", {"charset": "utf-8"})
    policy = {"http-equiv": "Content-Security-Policy", "content": _policy(styles)}
    ET.SubElement(head, "meta", policy)
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    ET.SubElement(head, "meta", viewport)
    ET.SubElement(head, "title").text = title
    ET.SubElement(head, "style").text = styles
    return page, ET.SubElement(ET.SubElement(page, "body"), "main")


def add_graphs(main: ET.Element, drawings: Sequence[Drawing]) -> None:
    """Add drawings beside each other, each with its edges as a table."""
    versions = ET.SubElement(main, "div", {"class": "versions"})
    for drawing in drawings:
        version = ET.SubElement(versions, "div")
        _frame(version, drawing).append(svg_element(drawing))
        _table(version, drawing)


def page_text(page: ET.Element) -> str:
    return f"<!doctype html>\n{ET.tostring(page, encoding='unicode', method='html')}\n"


def _width(drawing: Drawing) -> float:
    return float(svg_element(drawing).get("width", "0"))


def _policy(styles: str) -> str:
    # The page may show a workflow of unknown origin: a second barrier behind the escaping of texts.
    digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()
    allowed = ("default-src 'none'", f"style-src 'sha256-{digest}'", "base-uri 'none'")
    return "; ".join((*allowed, "form-action 'none'"))


def _page_styles(width: float) -> str:
    min_width = width * _LEAST_SCALE
    dark = f"body {{ background: {DARK.back}; color: {DARK.ink}; }}"
    return "\n".join((
        style_sheet(),
        ":root { color-scheme: light dark; }",
        f"body {{ margin: 0; font: 14px/1.45 {SANS}; background: {LIGHT.back}; "
        f"color: {LIGHT.ink}; }}",
        ".versions { display: flex; flex-wrap: wrap; }",
        ".versions > div { flex: 1 1 20em; min-width: 0; }",
        "pre { margin: 0 20px 24px; white-space: pre-wrap; overflow-wrap: anywhere; }",
        ".frame { overflow-x: auto; }",
        ".frame svg { display: block; margin: 0 auto; width: 100%; height: auto; "
        f"max-width: {width:g}px; min-width: {min_width:g}px; }}",
        "section { margin: 0 20px 24px; }",
        "h1 { margin: 20px; font-size: 22px; }",
        "h2 { margin: 24px 0 8px; font-size: 17px; }",
        "h3 { margin: 16px 20px 0; font-size: 15px; }",
        ".scroll { overflow-x: auto; }",
        ".scroll + .scroll { margin-top: 20px; }",
        ".scroll td { min-width: 4em; }",
        "details { margin: 8px 20px 24px; overflow-x: auto; }",
        "summary { cursor: pointer; padding: 6px 0; }",
        "table { border-collapse: collapse; }",
        f"th, td {{ padding: 5px 20px 5px 0; text-align: left; vertical-align: top; "
        f"border-bottom: 1px solid {LIGHT.job_line}; overflow-wrap: anywhere; }}",
        # Words break where nothing else helps: in long texts, which are in the last column.
        "th, .scroll td:not(:last-child) { overflow-wrap: normal; }",
        "@media (max-width: 480px) { th, td { padding-right: 10px; } "
        ".scroll td:nth-child(3):last-child { min-width: 13em; } }",
        f"@media screen and (prefers-color-scheme: dark) {{ {dark} }}",
    ))  # fmt: skip


def _frame(main: ET.Element, drawing: Drawing) -> ET.Element:
    # A scrollable region needs a name and a tab stop to be scrolled by keyboard.
    name = {"role": "region", "aria-label": f"Graph of {drawing.title}", "tabindex": "0"}
    return ET.SubElement(main, "div", {"class": "frame", **name})


def _table(main: ET.Element, drawing: Drawing) -> None:
    titles = {node.key: node.title for node in drawing.nodes}
    details = ET.SubElement(main, "details")
    ET.SubElement(details, "summary").text = f"As a table: {drawing.summary}"
    table = ET.SubElement(details, "table")
    _row(ET.SubElement(table, "thead"), "th", _HEADINGS)
    body = ET.SubElement(table, "tbody")
    for edge in drawing.edges:
        _row(body, "td", (titles[edge.source], titles[edge.target], _when(edge)))


def _when(edge: DrawnEdge) -> str:
    # The first line of the tooltip is the id of the edge.
    return "; ".join(edge.tooltip.split("\n")[1:])


def _row(parent: ET.Element, tag: str, cells: tuple[str, ...]) -> None:
    row = ET.SubElement(parent, "tr")
    for cell in cells:
        ET.SubElement(row, tag).text = cell
