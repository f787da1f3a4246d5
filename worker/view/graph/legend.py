"""The key to a picture: the tones and the kinds of edges that are in it."""

from __future__ import annotations

from dataclasses import dataclass

from worker.view.graph.drawing import Drawing, Style
from worker.view.graph.palette import TONES, Color
from worker.view.graph.text import width

_SIGN, _BETWEEN, _ROW, _ABOVE = 28.0, 18.0, 24.0, 30.0
_LEAST_ROOM = 400.0
_WORDS = {
    Style.SUCCESS: "on success",
    Style.FAILURE: "on failure",
    Style.EXPRESSION: "on a condition",
    Style.DISABLED: "disabled",
    Style.NEVER: "never",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the key; it has a tone or a style. ``y`` is its middle."""

    text: str
    x: float
    y: float
    tone: Color | None = None
    style: Style | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    entries: tuple[Entry, ...]
    width: float
    height: float


def legend_of(drawing: Drawing, room: float) -> Legend:
    """The key, in rows about as wide as the ``room``; of no size where nothing is to explain."""
    marks = [node.mark for node in drawing.nodes] + [edge.mark for edge in drawing.edges]
    seen = {mark.tone for mark in marks if mark}
    tones = [tone for tone in TONES.values() if tone.name in seen]
    styles = [style for style in _WORDS if any(edge.style is style for edge in drawing.edges)]
    found: list[Entry] = []
    x, y, widest = 0.0, _ABOVE, 0.0
    for text, tone, style in (
        *((tone.name, tone, None) for tone in tones),
        *((_WORDS[style], None, style) for style in styles),
    ):
        across = _SIGN + width(text, 11)
        if x and x + across > max(room, _LEAST_ROOM):
            x, y = 0.0, y + _ROW
        found.append(Entry(text=text, x=x, y=y, tone=tone, style=style))
        x += across + _BETWEEN
        widest = max(widest, x - _BETWEEN)
    return Legend(entries=tuple(found), width=widest, height=y + 8 if found else 0)
