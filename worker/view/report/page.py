"""Rendering of a report as one self-contained HTML file.

The page is built as a tree, so no text can become markup. Its content security policy allows the
styles and the script by hash, and allows no requests. The script reads the view from embedded JSON.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from itertools import groupby
from xml.etree import ElementTree as ET

from worker.sinks.terminal_text import one_line, printable_lines
from worker.util.json import dumps
from worker.view.graph.drawing import Drawing
from worker.view.graph.themes import dark_style_sheet, style_sheet
from worker.view.report.embedded_graph import EmbeddedGraph, embed_graph
from worker.view.report.status_css import status_rules
from worker.view.report.view_model import FirstDifference, ReportView, RunView

_LIGHT_STYLES = ("light.css", "parts.css")
_DARK_STYLES = ("dark.css",)
# The scripts share one scope, in this order: later files use what earlier ones define.
_SCRIPTS = ("dom.js", "tree.js", "steps.js", "log.js", "main.js")
_DARK_MEDIA = "screen and (prefers-color-scheme: dark)"
_LABELS = ("A", "B")


def render_page(view: ReportView, drawings: Sequence[Drawing]) -> str:
    """Render the report, with a drawing for each run."""
    light = "\n".join(
        [style_sheet(dark=False), *status_rules(dark=False), *map(_asset, _LIGHT_STYLES)]
    )
    dark = "\n".join([dark_style_sheet(), *status_rules(dark=True), *map(_asset, _DARK_STYLES)])
    script = "\n".join(['"use strict";', *map(_asset, _SCRIPTS)])
    root = ET.Element("html", {"lang": "en"})
    head = ET.SubElement(root, "head")
    ET.SubElement(head, "meta", {"charset": "utf-8"})
    # The policy is a second barrier: texts of a run must not load or execute anything.
    policy = _policy([light, dark], script)
    ET.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": policy})
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    ET.SubElement(head, "meta", viewport)
    ET.SubElement(head, "meta", {"name": "referrer", "content": "no-referrer"})
    ET.SubElement(head, "title").text = _title(view)
    ET.SubElement(head, "style").text = light
    ET.SubElement(head, "style", {"id": "dark", "media": _DARK_MEDIA}).text = dark
    _body(ET.SubElement(root, "body"), view, [embed_graph(item) for item in drawings], script)
    return f"<!doctype html>\n{ET.tostring(root, encoding='unicode', method='html')}\n"


def _asset(name: str) -> str:
    return resources.files("worker.view.report").joinpath("assets", name).read_text("utf-8")


def _policy(styles: Sequence[str], script: str) -> str:
    known = " ".join(f"'sha256-{_digest(item)}'" for item in styles)
    return "; ".join((
        "default-src 'none'",
        f"style-src {known}",
        f"script-src 'sha256-{_digest(script)}'",
        "base-uri 'none'",
        "form-action 'none'",
    ))  # fmt: skip


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _title(view: ReportView) -> str:
    run = view.runs[0]
    against = " compared" if len(view.runs) > 1 else ""
    return one_line(f"{run.mark} {run.workflow or 'run'}: {run.status}{against}", 120)


def embedded_json(view: ReportView) -> str:
    """Encode the view as JSON for a script element."""
    # An HTML parser ends the script at "</script>". In JSON "<" occurs in strings only, where an
    # escape means the same.
    return dumps(asdict(view)).replace("<", "\\u003c")


# --- the page without its script ------------------------------------------------------------------

_SECTIONS = (
    ("steps", "Steps and time"), ("detail", "Step"), ("log", "Log"), ("final", "Final state"),
)  # fmt: skip


def _body(body: ET.Element, view: ReportView, frames: Sequence[EmbeddedGraph], script: str) -> None:
    _tag(body, "a", "Skip to the steps", {"class": "skip", "href": "#steps-title"})
    _header(body, view)
    main = ET.SubElement(body, "main", {"class": "pair" if len(view.runs) > 1 else "single"})
    if len(view.runs) > 1:
        _first_difference(main, view.first)
    _summaries(main, view)
    _tag(main, "noscript", "Without scripts there are only the summary and the graph here.")
    _graphs(main, view, frames)
    for name, title in _SECTIONS:
        _section(main, name, title)
    _footer(body, view)
    ET.SubElement(body, "script", {"type": "application/json", "id": "data"}).text = embedded_json(
        view
    )
    ET.SubElement(body, "script").text = script


def _header(body: ET.Element, view: ReportView) -> None:
    header = ET.SubElement(body, "header")
    names = dict.fromkeys(run.workflow or "A run" for run in view.runs)
    title = " and ".join(one_line(name, 120) for name in names)
    _tag(header, "h1", title)
    tools = ET.SubElement(header, "div", {"class": "tools"})
    _tag(tools, "button", "Theme", {"type": "button", "id": "theme"})
    _tag(tools, "button", "Keys", {"type": "button", "id": "keys", "aria-haspopup": "dialog"})


def _first_difference(main: ET.Element, first: FirstDifference | None) -> None:
    section = ET.SubElement(main, "section", {"class": "first", "aria-labelledby": "first-title"})
    _tag(section, "h2", "First difference", {"id": "first-title"})
    if first is None:
        _tag(section, "p", "None: the two runs are equal, up to the end of the shorter one.")
        return
    # A long message scrolls, and what scrolls must be within reach of the keyboard.
    reachable = {"class": "message", "tabindex": "0"}
    _tag(section, "p", printable_lines(first.message[:4000]), reachable)
    if first.row is not None:
        _tag(section, "button", "Show it", {"type": "button", "id": "show-first"})


def _summaries(main: ET.Element, view: ReportView) -> None:
    holder = ET.SubElement(main, "div", {"class": "columns"})
    for number, run in enumerate(view.runs):
        _summary(holder, run, _LABELS[number] if len(view.runs) > 1 else "")


def _summary(holder: ET.Element, run: RunView, label: str) -> None:
    section = ET.SubElement(holder, "section", {"class": f"verdict s-{run.status}"})
    headline = ET.SubElement(section, "h2")
    if label:
        _tag(headline, "span", label, {"class": "label"})
    _tag(headline, "span", run.headline, {"class": "chip"})
    _summary_lines(section, run.summary)
    facts = ("began", run.began), ("run", run.run_id), ("from", run.name)
    text = " · ".join(f"{name} {printable_lines(value)}" for name, value in facts if value)
    _tag(section, "p", text, {"class": "facts"})
    for note in run.notes:
        _tag(section, "p", printable_lines(note), {"class": "note"})


def _summary_lines(section: ET.Element, summary: Sequence[str]) -> None:
    # Lines of code are indented by four spaces; they keep their columns.
    for is_code, lines in groupby(summary, lambda line: line.startswith("    ")):
        if is_code:
            _code(section, "\n".join(line[4:] for line in lines))
        else:
            for line in lines:
                _tag(section, "p", line.strip())


def _code(section: ET.Element, text: str) -> None:
    # Long lines scroll instead of wrapping, so that a caret stays below its column. The tab stop
    # makes scrolling possible by keyboard.
    about = {"tabindex": "0", "role": "group", "aria-label": "Position of the error"}
    _tag(section, "pre", text, about)


def _graphs(main: ET.Element, view: ReportView, frames: Sequence[EmbeddedGraph]) -> None:
    section = ET.SubElement(main, "section", {"aria-labelledby": "graph-title"})
    _tag(section, "h2", "Graph", {"id": "graph-title"})
    holder = ET.SubElement(section, "div", {"class": "columns"})
    for number, frame in enumerate(frames):
        label = f" of run {_LABELS[number]}" if len(view.runs) > 1 else ""
        about = {"role": "group", "aria-label": f"Drawing{label}", "tabindex": "0"}
        container = ET.SubElement(
            holder, "div", {"class": "frame", "data-run": str(number), **about}
        )
        if len(frames) > 1:
            _tag(container, "span", _LABELS[number], {"class": "label"})
        if frame.element is None:
            _tag(container, "p", frame.problem, {"class": "note"})
        else:
            container.append(frame.element)


def _section(main: ET.Element, id: str, title: str) -> None:
    section = ET.SubElement(main, "section", {"id": id, "aria-labelledby": f"{id}-title"})
    # Target of the skip link, and of the focus when a step is selected elsewhere.
    _tag(section, "h2", title, {"id": f"{id}-title", "tabindex": "-1"})
    ET.SubElement(section, "div", {"class": "content"})


def _footer(body: ET.Element, view: ReportView) -> None:
    steps = sum(len(run.executions) for run in view.runs)
    lines = sum(len(run.logs) for run in view.runs)
    text = (
        f"Executions: {steps}. Log lines: {lines}. This file is self-contained: it loads nothing."
    )
    _tag(ET.SubElement(body, "footer"), "p", text)


def _tag(
    parent: ET.Element, name: str, text: str, attributes: dict[str, str] | None = None
) -> None:
    ET.SubElement(parent, name, attributes or {}).text = text
