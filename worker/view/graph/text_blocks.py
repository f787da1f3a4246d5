"""Text blocks: the wrapped lines and the size of each box and label."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.view.graph.annotation_styles import ANNOTATION_STYLES
from worker.view.graph.drawing import Annotation, DrawnEdge, DrawnNode, EdgeStyle, NodeKind
from worker.view.graph.text import text_width, wrap

LINE_HEIGHT = 1.32
CHIP_SIZE = 16
_TITLE, _SMALL, _LABEL = 13.0, 11.0, 11.0
_NODE_TEXT, _LABEL_TEXT = 180.0, 150.0


class TextRole(StrEnum):
    """Role of a line of text; it decides the font."""

    TITLE = "title"
    SUBTITLE = "subtitle"
    BADGE = "badge"
    LABEL = "label"
    CODE = "code"
    RULE = "rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLine:
    """Line of a text block; ``middle`` is its offset from the middle of the block."""

    text: str
    role: TextRole
    middle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBlock:
    """Lines of text and the size of the box around them."""

    lines: tuple[TextLine, ...]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Font:
    size: float
    bold: bool = False
    mono: bool = False


FONTS = {
    TextRole.TITLE: _Font(_TITLE, bold=True),
    TextRole.SUBTITLE: _Font(_SMALL),
    TextRole.BADGE: _Font(_SMALL, bold=True),
    TextRole.LABEL: _Font(_LABEL, bold=True),
    TextRole.CODE: _Font(10.0, mono=True),
    TextRole.RULE: _Font(_LABEL),
}
# A box with many edges grows, so that the edges can be distinguished; up to a limit, so that one
# step does not fill the screen.
_MIN_BOX, _EDGE_ROOM, _MAX_BOX = 96.0, 20.0, 480.0
_PADDING = {NodeKind.TRIGGER: 22.0}


def measure_node(node: DrawnNode, edges: int = 0) -> TextBlock:
    """Measure the box of a node, wide enough for ``edges`` edges on one side."""
    texts = _wrapped(node.title, TextRole.TITLE, _NODE_TEXT, 2)
    texts += _wrapped(node.subtitle, TextRole.SUBTITLE, _NODE_TEXT, 1)
    texts += _badge(node.annotation.badge if node.annotation else "")
    across = _PADDING.get(node.kind, 14.0) + (CHIP_SIZE + 4 if has_chip(node.annotation) else 0)
    return _stacked(
        texts, across=across, down=9.0, least=max(_MIN_BOX, min(edges * _EDGE_ROOM, _MAX_BOX))
    )


def has_chip(annotation: Annotation | None) -> bool:
    return annotation is not None and not ANNOTATION_STYLES[annotation.style].of_path


def measure_label(arrow: DrawnEdge) -> TextBlock:
    """Measure the label of an edge; its size is 0 where it has no text."""
    texts = _wrapped(arrow.label, TextRole.LABEL, _LABEL_TEXT, 2)
    role = TextRole.CODE if _is_code(arrow) else TextRole.RULE
    texts += _wrapped(arrow.condition, role, _LABEL_TEXT, 2)
    if arrow.style is EdgeStyle.DISABLED:
        texts.append(("⊘ disabled", TextRole.RULE))
    if arrow.annotation:
        # A symbol on the line would cut it in two.
        style = ANNOTATION_STYLES[arrow.annotation.style]
        symbol = "" if style.of_path else style.symbol
        texts += _badge(f"{symbol} {arrow.annotation.badge}".strip())
    return (
        _stacked(texts, across=5.0, down=2.0) if texts else TextBlock(lines=(), width=0, height=0)
    )


def _is_code(arrow: DrawnEdge) -> bool:
    # Our own texts for conditions begin with a symbol that no JavaScript begins with.
    return not arrow.condition.startswith(("✓", "✗", "⊘"))


def _badge(text: str) -> list[tuple[str, TextRole]]:
    return [(text, TextRole.BADGE)] if text else []


def _wrapped(text: str, role: TextRole, limit: float, lines: int) -> list[tuple[str, TextRole]]:
    font = FONTS[role]
    lines_of_text = wrap(text, limit, font.size, lines, bold=font.bold, mono=font.mono)
    return [(line, role) for line in lines_of_text]


def _stacked(
    texts: list[tuple[str, TextRole]], *, across: float, down: float, least: float = 0
) -> TextBlock:
    heights = [FONTS[role].size * LINE_HEIGHT for _, role in texts]
    top = -sum(heights) / 2
    lines = []
    for (text, role), height in zip(texts, heights, strict=True):
        lines.append(TextLine(text=text, role=role, middle=top + height / 2))
        top += height
    widest = max((_width(text, role) for text, role in texts), default=0)
    return TextBlock(
        lines=tuple(lines),
        width=round(max(least, widest + 2 * across), 1),
        height=round(sum(heights) + 2 * down, 1),
    )


def _width(text: str, role: TextRole) -> float:
    font = FONTS[role]
    return text_width(text, font.size, bold=font.bold, mono=font.mono)
