"""The colours and fonts of a picture, by day and by night, as one style sheet.

Every rule is spelled out with its colour: what turns SVG into PNG knows no CSS variables. No
character in it needs escaping in XML.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from worker.view.graph.drawing import NodeKind, Style
from worker.view.graph.fitting import FONTS, Role
from worker.view.graph.palette import TONES

ROOT: Final = "workflow-graph"
SANS: Final = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', "
    "'Liberation Sans', Arial, sans-serif"
)
MONO: Final = (
    "ui-monospace, 'SF Mono', Menlo, Consolas, 'Noto Sans Mono', 'DejaVu Sans Mono', "
    "'Liberation Mono', monospace"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """One theme; ``night`` picks the colours of tones."""

    night: bool
    back: str
    ink: str
    soft: str
    job: str
    job_line: str
    trigger: str
    trigger_line: str
    always: str
    success: str
    failure: str
    expression: str
    off: str


DAY: Final = Palette(
    night=False,
    back="#ffffff",
    ink="#0f172a",
    soft="#475569",
    job="#f8fafc",
    job_line="#94a3b8",
    trigger="#e0e7ff",
    trigger_line="#4f46e5",
    always="#64748b",
    success="#15803d",
    failure="#b91c1c",
    expression="#6d28d9",
    off="#94a3b8",
)
NIGHT: Final = Palette(
    night=True,
    back="#0f172a",
    ink="#f1f5f9",
    soft="#b4c0d0",
    job="#1e293b",
    job_line="#64748b",
    trigger="#272e6b",
    trigger_line="#a5b4fc",
    always="#94a3b8",
    success="#4ade80",
    failure="#f87171",
    expression="#c4b5fd",
    off="#64748b",
)
_DASHES: Final = {
    Style.FAILURE: "7 4",
    Style.DISABLED: "2 5",
    Style.NEVER: "2 5",
}


def style_sheet(*, night: bool = True, sans: str = SANS) -> str:
    """The rules for a picture; with ``night``, those for a dark screen too."""
    rules = [*map(_scoped, _fixed(sans)), *map(_scoped, _colours(DAY))]
    if night:
        rules += ["@media screen and (prefers-color-scheme: dark) {", night_sheet(), "}"]
    return "\n".join(rules)


def night_sheet() -> str:
    """The rules that make it dark, for a page that decides by itself when it is."""
    return "\n".join(map(_scoped, _colours(NIGHT)))


def _scoped(rule: str) -> str:
    """A page that a picture stands in has classes of its own."""
    selectors, _, body = rule.partition(" {")
    return ", ".join(f".{ROOT} {one}" for one in selectors.split(", ")) + " {" + body


def _fixed(sans: str) -> Iterator[str]:
    yield f"text {{ font-family: {sans}; text-anchor: middle; }}"
    for role, font in FONTS.items():
        weight = "600" if font.bold else "400"
        family = f" font-family: {MONO};" if font.mono else ""
        yield f".{role} {{ font-size: {font.size:g}px; font-weight: {weight};{family} }}"
    yield ".heading { font-size: 15px; font-weight: 700; text-anchor: start; }"
    yield ".key { font-size: 11px; text-anchor: start; }"
    yield ".box { stroke-width: 1.5; }"
    yield f".box.{NodeKind.TRIGGER.value} {{ stroke-width: 2; }}"
    yield f".box.{NodeKind.CODELESS.value} {{ stroke-dasharray: 1 3; stroke-linecap: round; }}"
    yield f".box.{NodeKind.MISSING.value} {{ stroke-dasharray: 5 4; }}"
    yield ".box.marked { stroke-width: 2.5; }"
    yield ".line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }"
    yield ".line.marked { stroke-width: 3; }"
    yield ".reach { fill: none; stroke-width: 14; stroke-opacity: 0; pointer-events: stroke; }"
    for style, dashes in _DASHES.items():
        yield f".line.{style} {{ stroke-dasharray: {dashes}; }}"
    yield ".glyph { fill: none; stroke-width: 1.9; stroke-linecap: round; stroke-linejoin: round; }"
    yield ".chip { stroke-width: 1.5; stroke-linejoin: round; }"
    yield ".chip.dashed { stroke-dasharray: 2.5 2; }"


def _colours(palette: Palette) -> Iterator[str]:
    yield f".back {{ fill: {palette.back}; }}"
    yield f"text {{ fill: {palette.ink}; }}"
    yield f".subtitle, .rule, .key {{ fill: {palette.soft}; }}"
    yield f".box {{ fill: {palette.job}; stroke: {palette.job_line}; }}"
    yield f".box.trigger {{ fill: {palette.trigger}; stroke: {palette.trigger_line}; }}"
    yield f".box.missing {{ fill: {palette.back}; stroke: {palette.failure}; }}"
    yield from _edge_colours(palette)
    yield from _tone_colours(palette)


def _edge_colours(palette: Palette) -> Iterator[str]:
    for style, colour in _edges(palette).items():
        yield f".line.{style} {{ stroke: {colour}; }}"
        yield f".head.{style} {{ fill: {colour}; }}"
        yield f".tail.{style} {{ fill: {palette.back}; stroke: {colour}; stroke-width: 1.5; }}"
    yield f".label.success, .rule.success {{ fill: {palette.success}; }}"
    yield f".label.failure, .rule.failure {{ fill: {palette.failure}; }}"
    yield f".code.expression {{ fill: {palette.expression}; }}"
    yield f".code.disabled, .label.disabled, .label.never {{ fill: {palette.soft}; }}"


def _edges(palette: Palette) -> dict[Style, str]:
    return {
        Style.ALWAYS: palette.always,
        Style.SUCCESS: palette.success,
        Style.FAILURE: palette.failure,
        Style.EXPRESSION: palette.expression,
        Style.DISABLED: palette.off,
        Style.NEVER: palette.off,
    }


def _tone_colours(palette: Palette) -> Iterator[str]:
    for tone in TONES.values():
        name, colours = f"t-{tone.name}", tone.colours
        tint, line = colours.tint[palette.night], colours.line[palette.night]
        yield f".box.{name} {{ fill: {tint}; stroke: {line}; }}"
        yield f".line.{name} {{ stroke: {line}; }}"
        yield f".head.{name} {{ fill: {line}; }}"
        yield f".{Role.BADGE}.{name} {{ fill: {line}; }}"
        yield f".chip.{name} {{ fill: {colours.chip}; stroke: {line}; }}"
        ink = colours.ink or line
        yield f".glyph.{name} {{ stroke: {ink}; }}"
        yield f".solid.{name} {{ fill: {ink}; stroke-width: 1; }}"
