"""Legend of a graph: the annotation styles and edge styles that it uses."""

from __future__ import annotations

from dataclasses import dataclass

from worker.view.graph.annotation_styles import ANNOTATION_STYLES, AnnotationStyle
from worker.view.graph.drawing import Drawing, DrawnEdge, EdgeStyle
from worker.view.graph.text import text_width

_SYMBOL_WIDTH, _ENTRY_GAP, _ROW_HEIGHT, _MARGIN_TOP = 28.0, 18.0, 24.0, 30.0
# A narrow graph would otherwise have a legend of one entry per row.
_MIN_ROOM = 400.0
_LABELS = {
    EdgeStyle.SUCCESS: "on success",
    EdgeStyle.FAILURE: "on failure",
    EdgeStyle.EXPRESSION: "on a condition",
    EdgeStyle.DISABLED: "disabled",
    EdgeStyle.NEVER: "never",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendEntry:
    """Entry of the legend: an annotation style or an edge style. ``y`` is its middle."""

    text: str
    x: float
    y: float
    annotation_style: AnnotationStyle | None = None
    edge_style: EdgeStyle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    entries: tuple[LegendEntry, ...]
    width: float
    height: float


def _has_style(edge: DrawnEdge, style: EdgeStyle) -> bool:
    # The path of a run has other colors, and its edges have their conditions as labels.
    of_path = edge.annotation and ANNOTATION_STYLES[edge.annotation.style].of_path
    return edge.style is style and not of_path


def build_legend(drawing: Drawing, room: float) -> Legend:
    """Arrange the legend in rows of about ``room`` pixels; its height is 0 where it is empty."""
    annotations = [node.annotation for node in drawing.nodes] + [
        edge.annotation for edge in drawing.edges
    ]
    used = {annotation.style for annotation in annotations if annotation}
    # Both are grey, and the difference is in the graph.
    if "not-taken" in used:
        used.discard("not-reached")
    annotation_styles = [style for style in ANNOTATION_STYLES.values() if style.name in used]
    edge_styles = [
        style for style in _LABELS if any(_has_style(edge, style) for edge in drawing.edges)
    ]
    entries: list[LegendEntry] = []
    x, y, widest = 0.0, _MARGIN_TOP, 0.0
    for text, annotation_style, edge_style in (
        *((style.label, style, None) for style in annotation_styles),
        *((_LABELS[style], None, style) for style in edge_styles),
    ):
        entry_width = _SYMBOL_WIDTH + text_width(text, 11)
        if x and x + entry_width > max(room, _MIN_ROOM):
            x, y = 0.0, y + _ROW_HEIGHT
        entries.append(
            LegendEntry(
                text=text, x=x, y=y, annotation_style=annotation_style, edge_style=edge_style
            )
        )
        x += entry_width + _ENTRY_GAP
        widest = max(widest, x - _ENTRY_GAP)
    return Legend(entries=tuple(entries), width=widest, height=y + 8 if entries else 0)
