"""A drawing as one HTML page: the picture, as wide as the window, and the same as a table.

Nothing in it runs, and its policy lets nothing run or load: the one style sheet is known by hash.
"""

from __future__ import annotations

import base64
import hashlib
from xml.etree import ElementTree as ET

from worker.view.graph.drawing import Arrow, Drawing
from worker.view.graph.styles import DAY, NIGHT, SANS, style_sheet
from worker.view.graph.svg import picture

# Below this scale nobody reads the labels: then the picture scrolls in its frame.
_LEAST_SCALE = 0.65
_HEADINGS = ("From", "To", "When")


def html(drawing: Drawing) -> str:
    """The page as text."""
    shown = picture(drawing)
    styles = _page_styles(float(shown.get("width", "0")))
    page = ET.Element("html", {"lang": "en"})
    head = ET.SubElement(page, "head")
    ET.SubElement(head, "meta", {"charset": "utf-8"})
    policy = {"http-equiv": "Content-Security-Policy", "content": _policy(styles)}
    ET.SubElement(head, "meta", policy)
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    ET.SubElement(head, "meta", viewport)
    ET.SubElement(head, "title").text = f"{drawing.title}: workflow"
    ET.SubElement(head, "style").text = styles
    main = ET.SubElement(ET.SubElement(page, "body"), "main")
    _frame(main, drawing).append(shown)
    _table(main, drawing)
    return f"<!doctype html>\n{ET.tostring(page, encoding='unicode', method='html')}\n"


def _policy(styles: str) -> str:
    digest = base64.b64encode(hashlib.sha256(styles.encode()).digest()).decode()
    allowed = ("default-src 'none'", f"style-src 'sha256-{digest}'", "base-uri 'none'")
    return "; ".join((*allowed, "form-action 'none'"))


def _page_styles(across: float) -> str:
    least = across * _LEAST_SCALE
    night = f"body {{ background: {NIGHT.back}; color: {NIGHT.ink}; }}"
    return "\n".join((
        style_sheet(),
        ":root { color-scheme: light dark; }",
        f"body {{ margin: 0; font: 14px/1.45 {SANS}; background: {DAY.back}; color: {DAY.ink}; }}",
        ".frame { overflow-x: auto; }",
        ".frame svg { display: block; margin: 0 auto; width: 100%; height: auto; "
        f"max-width: {across:g}px; min-width: {least:g}px; }}",
        "details { margin: 8px 20px 24px; overflow-x: auto; }",
        "summary { cursor: pointer; padding: 6px 0; }",
        "table { border-collapse: collapse; }",
        f"th, td {{ padding: 5px 20px 5px 0; text-align: left; vertical-align: top; "
        f"border-bottom: 1px solid {DAY.job_line}; overflow-wrap: anywhere; }}",
        f"@media screen and (prefers-color-scheme: dark) {{ {night} }}",
    ))  # fmt: skip


def _frame(main: ET.Element, drawing: Drawing) -> ET.Element:
    """Scrolled by keys too, which a box with a name and a tab stop is."""
    name = {"role": "region", "aria-label": f"The graph of {drawing.title}", "tabindex": "0"}
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


def _when(edge: Arrow) -> str:
    """All but the first line of the tooltip, which names the edge."""
    return "; ".join(edge.tooltip.split("\n")[1:])


def _row(parent: ET.Element, tag: str, cells: tuple[str, ...]) -> None:
    row = ET.SubElement(parent, "tr")
    for cell in cells:
        ET.SubElement(row, tag).text = cell
