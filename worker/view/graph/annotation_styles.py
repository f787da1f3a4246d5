"""Annotation styles. Each differs from the others by shape and symbol too, not by color alone.

Statuses have the colors of OpenFn and the symbols that the command prints.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from worker.core.status import STATUSES, Status


class ChipShape(StrEnum):
    """Outline of a chip."""

    CIRCLE = "circle"
    RING = "ring"
    DASHED = "dashed"
    SQUARE = "square"
    DIAMOND = "diamond"
    TRIANGLE = "triangle"


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleColors:
    """Colors of an annotation style.

    ``chip`` and ``ink`` (on the chip; empty: as ``line``) are the same in both themes. ``tint``
    fills the annotated box, and ``line`` is its border or the edge: (light, dark).
    """

    chip: str
    ink: str
    tint: tuple[str, str]
    line: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationStyle:
    """Style of an annotation. ``glyph`` is an SVG path around (0, 0), ``symbol`` its text form.

    A style ``of_path`` is shown by the line or the border alone, without chip or symbol.
    """

    name: str
    symbol: str
    shape: ChipShape
    glyph: str
    colors: StyleColors
    of_path: bool = False

    @property
    def label(self) -> str:
        return self.name.replace("-", " ")


# Glyphs are paths, not text: a viewer's fonts may lack the symbol.
_CHECK: Final = "M-3.6 .2L-1.2 2.8L3.6-2.6"
_CROSS: Final = "M-2.9-2.9L2.9 2.9M2.9-2.9L-2.9 2.9"
_BANG: Final = "M0-2.6V1.4M0 3.6V3.8"
_SLASH: Final = "M-4.6 4.6L4.6-4.6"
_QUESTION: Final = "M-1.8-1.8A1.9 1.9 0 1 1 .7 .2Q0 .7 0 1.5M0 3.7V3.9"
_DOTS: Final = "M-3.4 0H-3.2M-.1 0H.1M3.2 0H3.4"
_DASH: Final = "M-3 0H3"
_PLAY: Final = "M-1.8-3L3 0L-1.8 3Z"
_DOT: Final = "M-.3 0H.3"
_ARROW: Final = "M-3.6 0H3.4M.6-2.8L3.4 0L.6 2.8"
_BAR: Final = "M-3.6 0H2.4M2.8-3V3"
_HALF: Final = "M0-6.6A6.6 6.6 0 0 0 0 6.6Z"

_WHITE: Final = StyleColors(
    chip="#f8fafc", ink="#334155", tint=("#f8fafc", "#273449"), line=("#64748b", "#94a3b8")
)
_BLUE: Final = StyleColors(
    chip="#2563eb", ink="#ffffff", tint=("#dbeafe", "#172f5f"), line=("#2563eb", "#60a5fa")
)
_GREEN: Final = StyleColors(
    chip="#15803d", ink="#ffffff", tint=("#dcfce7", "#12351f"), line=("#15803d", "#4ade80")
)
_RED: Final = StyleColors(
    chip="#dc2626", ink="#ffffff", tint=("#fee2e2", "#451a1a"), line=("#dc2626", "#f87171")
)
_ORANGE: Final = StyleColors(
    chip="#ea580c", ink="#ffffff", tint=("#ffedd5", "#4a2410"), line=("#ea580c", "#fb923c")
)
_YELLOW: Final = StyleColors(
    chip="#facc15", ink="#422006", tint=("#fef9c3", "#3d3208"), line=("#a16207", "#facc15")
)
_INK: Final = StyleColors(
    chip="#334155", ink="#ffffff", tint=("#f1f5f9", "#1e293b"), line=("#334155", "#cbd5e1")
)
_GREY: Final = StyleColors(
    chip="none", ink="", tint=("#f8fafc", "#172033"), line=("#a3afc0", "#566379")
)
_HOLLOW_RED: Final = replace(_RED, chip="none", ink="")
_HOLLOW_YELLOW: Final = replace(_YELLOW, chip="none", ink="")
_BLACK: Final = StyleColors(
    chip="#111827", ink="#ffffff", tint=("#d6dae1", "#05070c"), line=("#111827", "#e2e8f0")
)

_STATUS_STYLES: Final[dict[Status, tuple[ChipShape, str, StyleColors]]] = {
    Status.PENDING: (ChipShape.DASHED, _DOT, _WHITE),
    Status.RUNNING: (ChipShape.CIRCLE, _PLAY, _BLUE),
    Status.SUCCESS: (ChipShape.CIRCLE, _CHECK, _GREEN),
    Status.FAILED: (ChipShape.CIRCLE, _CROSS, _RED),
    Status.CRASHED: (ChipShape.TRIANGLE, _BANG, _ORANGE),
    Status.CANCELLED: (ChipShape.RING, _SLASH, _WHITE),
    Status.KILLED: (ChipShape.SQUARE, _CROSS, _YELLOW),
    Status.EXCEPTION: (ChipShape.DIAMOND, _QUESTION, _BLACK),
    Status.LOST: (ChipShape.DASHED, _DOTS, _BLACK),
    Status.REJECTED: (ChipShape.SQUARE, _DASH, _WHITE),
}


def _style(
    name: str, symbol: str, shape: ChipShape, glyph: str, colors: StyleColors
) -> AnnotationStyle:
    return AnnotationStyle(name=name, symbol=symbol, shape=shape, glyph=glyph, colors=colors)


ANNOTATION_STYLES: Final[dict[str, AnnotationStyle]] = {
    **{
        str(status): _style(str(status), STATUSES[status].mark, shape, glyph, colors)
        for status, (shape, glyph, colors) in _STATUS_STYLES.items()
    },
    "covered": _style("covered", "✓", ChipShape.CIRCLE, _CHECK, _GREEN),
    "partly": _style("partly", "◐", ChipShape.RING, _HALF, _HOLLOW_YELLOW),
    "missed": _style("missed", "○", ChipShape.RING, "", _HOLLOW_RED),
    **{
        name: replace(_style(name, symbol, shape, glyph, colors), of_path=True)
        for name, symbol, shape, glyph, colors in (
            # Neutral: colors mean the outcomes of steps.
            ("followed", "→", ChipShape.CIRCLE, _ARROW, _INK),
            ("not-taken", "⊣", ChipShape.RING, _BAR, _GREY),
            ("not-reached", "○", ChipShape.DASHED, "", _GREY),
        )
    },
}
