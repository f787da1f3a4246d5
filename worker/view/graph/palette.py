"""Tones: what a mark says by colour, and by a shape and a sign for those who see no colour.

The statuses have OpenFn's colours and the signs that the command prints for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from worker.core.status import STATUSES, Status


class NodeShape(StrEnum):
    """The outline of a tone's chip."""

    CIRCLE = "circle"
    RING = "ring"
    DASHED = "dashed"
    SQUARE = "square"
    DIAMOND = "diamond"
    TRIANGLE = "triangle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """``chip`` and ``ink`` (on the chip; empty: as ``line``) are the same by day and night;
    ``tint`` fills the marked box, ``line`` is its border and a marked edge, each (light, dark)."""

    chip: str
    ink: str
    tint: tuple[str, str]
    line: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Color:
    """One tone: ``glyph`` is a path around (0, 0), so that no font is needed to show it; ``sign``
    is the same as text."""

    name: str
    sign: str
    shape: NodeShape
    glyph: str
    colours: Colours


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

_WHITE: Final = Colours(
    chip="#f8fafc", ink="#334155", tint=("#f8fafc", "#273449"), line=("#64748b", "#94a3b8")
)
_BLUE: Final = Colours(
    chip="#2563eb", ink="#ffffff", tint=("#dbeafe", "#172f5f"), line=("#2563eb", "#60a5fa")
)
_GREEN: Final = Colours(
    chip="#15803d", ink="#ffffff", tint=("#dcfce7", "#12351f"), line=("#15803d", "#4ade80")
)
_RED: Final = Colours(
    chip="#dc2626", ink="#ffffff", tint=("#fee2e2", "#451a1a"), line=("#dc2626", "#f87171")
)
_ORANGE: Final = Colours(
    chip="#ea580c", ink="#ffffff", tint=("#ffedd5", "#4a2410"), line=("#ea580c", "#fb923c")
)
_YELLOW: Final = Colours(
    chip="#facc15", ink="#422006", tint=("#fef9c3", "#3d3208"), line=("#a16207", "#facc15")
)
_HOLLOW_RED: Final = replace(_RED, chip="none", ink="")
_HOLLOW_YELLOW: Final = replace(_YELLOW, chip="none", ink="")
_BLACK: Final = Colours(
    chip="#111827", ink="#ffffff", tint=("#d6dae1", "#05070c"), line=("#111827", "#e2e8f0")
)

_LOOKS: Final[dict[Status, tuple[NodeShape, str, Colours]]] = {
    Status.PENDING: (NodeShape.DASHED, _DOT, _WHITE),
    Status.RUNNING: (NodeShape.CIRCLE, _PLAY, _BLUE),
    Status.SUCCESS: (NodeShape.CIRCLE, _CHECK, _GREEN),
    Status.FAILED: (NodeShape.CIRCLE, _CROSS, _RED),
    Status.CRASHED: (NodeShape.TRIANGLE, _BANG, _ORANGE),
    Status.CANCELLED: (NodeShape.RING, _SLASH, _WHITE),
    Status.KILLED: (NodeShape.SQUARE, _CROSS, _YELLOW),
    Status.EXCEPTION: (NodeShape.DIAMOND, _QUESTION, _BLACK),
    Status.LOST: (NodeShape.DASHED, _DOTS, _BLACK),
    Status.REJECTED: (NodeShape.SQUARE, _DASH, _WHITE),
}


def _tone(name: str, sign: str, shape: NodeShape, glyph: str, colours: Colours) -> Color:
    return Color(name=name, sign=sign, shape=shape, glyph=glyph, colours=colours)


TONES: Final[dict[str, Color]] = {
    **{
        str(status): _tone(str(status), STATUSES[status].mark, shape, glyph, colours)
        for status, (shape, glyph, colours) in _LOOKS.items()
    },
    "covered": _tone("covered", "✓", NodeShape.CIRCLE, _CHECK, _GREEN),
    "partly": _tone("partly", "◐", NodeShape.RING, _HALF, _HOLLOW_YELLOW),
    "missed": _tone("missed", "○", NodeShape.RING, "", _HOLLOW_RED),
    "followed": _tone("followed", "→", NodeShape.CIRCLE, _ARROW, _BLUE),
    "refused": _tone("refused", "⊣", NodeShape.RING, _BAR, _WHITE),
}
