"""Where boxes and arrows go, by dagre: layers from top to bottom, few crossings, room for labels.

dagre is what most of the web draws such graphs with. It runs in the engine that is here anyway,
and is told sizes and places alone, never a word of a workflow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources

from worker.pictures.drawing import Arrow, Box, Drawing

Point = tuple[float, float]

BOX_HEIGHT = 46.0
LABEL_HEIGHT = 16.0
_TITLE_WIDTH = 7.6
_LABEL_WIDTH = 6.4
_MARGIN = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Centres of boxes with their widths, and for each arrow its points and its label's centre."""

    width: float
    height: float
    boxes: tuple[Point, ...]
    widths: tuple[float, ...]
    arrows: tuple[tuple[Point, ...], ...]
    labels: tuple[Point, ...]


def lay_out(drawing: Drawing) -> Layout:
    """The layout of a drawing, cycles and all."""
    import _quickjs

    context = _quickjs.Context()
    source = resources.files("worker.pictures") / "vendor" / "dagre.js"
    context.eval(source.read_text("utf-8"))
    widths = tuple(width_of(box) for box in drawing.boxes)
    asked = {
        "nodes": [[width, BOX_HEIGHT] for width in widths],
        "edges": [
            [arrow.source, arrow.target, label_width(arrow), LABEL_HEIGHT if arrow.label else 0]
            for arrow in drawing.arrows
        ],
        "options": {"rankdir": "TB", "nodesep": 28, "ranksep": 34, "edgesep": 14},
    }
    found = json.loads(context.eval("layOut")(json.dumps(asked)))
    width, height = found["size"]
    return Layout(
        width=width + 2 * _MARGIN,
        height=height + 2 * _MARGIN,
        boxes=tuple(_moved(one) for one in found["nodes"]),
        widths=widths,
        arrows=tuple(tuple(_moved(one) for one in edge["points"]) for edge in found["edges"]),
        labels=tuple(_moved(edge["label"]) for edge in found["edges"]),
    )


def width_of(box: Box) -> float:
    """Wide enough for its text, as most fonts have it."""
    title = f"{box.title}  {box.mark.badge}" if box.mark.badge else box.title
    extra = 24 if box.kind == "trigger" else 0
    words = max(len(title) * _TITLE_WIDTH + 44, len(box.subtitle) * _LABEL_WIDTH + 28)
    return max(96.0, words + extra)


def label_width(arrow: Arrow) -> float:
    text = f"{arrow.label} {arrow.mark.badge}".strip()
    return len(text) * _LABEL_WIDTH + 10 if text else 0.0


def _moved(point: list[float]) -> Point:
    return round(point[0] + _MARGIN, 1), round(point[1] + _MARGIN, 1)
