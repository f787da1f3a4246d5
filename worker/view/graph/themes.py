"""Style sheet of rendered graphs, in a light and a dark theme.

No character in it needs escaping in XML.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from worker.view.graph.annotation_styles import ANNOTATION_STYLES
from worker.view.graph.drawing import MAX_WEIGHT, EdgeStyle, NodeKind
from worker.view.graph.text_blocks import FONTS, TextRole

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
class Theme:
    """Colors of a theme; ``dark`` selects the colors of annotation styles."""

    dark: bool
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


LIGHT: Final = Theme(
    dark=False,
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
DARK: Final = Theme(
    dark=True,
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
    EdgeStyle.FAILURE: "7 4",
    EdgeStyle.DISABLED: "2 5",
    EdgeStyle.NEVER: "2 5",
}


def style_sheet(*, dark: bool = True, sans: str = SANS) -> str:
    """Write the rules of a graph; with ``dark``, also those for a dark screen."""
    rules = [*map(_scoped, _fixed(sans)), *map(_scoped, _colors(LIGHT))]
    if dark:
        rules += ["@media screen and (prefers-color-scheme: dark) {", dark_style_sheet(), "}"]
    return "\n".join(rules)


def dark_style_sheet() -> str:
    """Write the rules of the dark theme, for a page that switches themes itself."""
    return "\n".join(map(_scoped, _colors(DARK)))


def _scoped(rule: str) -> str:
    # A page that embeds a graph has classes of its own.
    selectors, _, body = rule.partition(" {")
    return ", ".join(f".{ROOT} {selector}" for selector in selectors.split(", ")) + " {" + body


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
    grey = [style.name for style in ANNOTATION_STYLES.values() if style.of_path][1:]
    yield f"{_each('.line.t-', grey)} {{ stroke-width: 1.6; }}"
    yield f"{_each('.box.t-', grey)} {{ stroke-width: 1.5; }}"
    for thickness in range(1, MAX_WEIGHT + 1):
        # No wider than the head of an arrow.
        yield f".line.marked.w{thickness} {{ stroke-width: {1 + 1.4 * thickness:g}; }}"
    yield ".reach { fill: none; stroke-width: 14; stroke-opacity: 0; pointer-events: stroke; }"
    for style, dashes in _DASHES.items():
        yield f".line.{style} {{ stroke-dasharray: {dashes}; }}"
    yield ".glyph { fill: none; stroke-width: 1.9; stroke-linecap: round; stroke-linejoin: round; }"
    yield ".chip { stroke-width: 1.5; stroke-linejoin: round; }"
    yield ".chip.dashed { stroke-dasharray: 2.5 2; }"


def _each(prefix: str, names: Iterable[str]) -> str:
    return ", ".join(f"{prefix}{name}" for name in names)


def _colors(theme: Theme) -> Iterator[str]:
    # Colors are repeated in each rule: resvg, which renders PNG, does not support CSS variables.
    yield f".back {{ fill: {theme.back}; }}"
    yield f"text {{ fill: {theme.ink}; }}"
    yield f".subtitle, .rule, .key {{ fill: {theme.soft}; }}"
    yield f".box {{ fill: {theme.job}; stroke: {theme.job_line}; }}"
    yield f".box.trigger {{ fill: {theme.trigger}; stroke: {theme.trigger_line}; }}"
    yield f".box.missing {{ fill: {theme.back}; stroke: {theme.failure}; }}"
    yield from _edge_colors(theme)
    yield from _annotation_colors(theme)


def _edge_colors(theme: Theme) -> Iterator[str]:
    for style, color in _edges(theme).items():
        yield f".line.{style} {{ stroke: {color}; }}"
        yield f".head.{style} {{ fill: {color}; }}"
        yield f".tail.{style} {{ fill: {theme.back}; stroke: {color}; stroke-width: 1.5; }}"
    yield f".label.success, .rule.success {{ fill: {theme.success}; }}"
    yield f".label.failure, .rule.failure {{ fill: {theme.failure}; }}"
    yield f".code.expression {{ fill: {theme.expression}; }}"
    yield f".code.disabled, .label.disabled, .label.never {{ fill: {theme.soft}; }}"


def _edges(theme: Theme) -> dict[EdgeStyle, str]:
    return {
        EdgeStyle.ALWAYS: theme.always,
        EdgeStyle.SUCCESS: theme.success,
        EdgeStyle.FAILURE: theme.failure,
        EdgeStyle.EXPRESSION: theme.expression,
        EdgeStyle.DISABLED: theme.off,
        EdgeStyle.NEVER: theme.off,
    }


def _annotation_colors(theme: Theme) -> Iterator[str]:
    for style in ANNOTATION_STYLES.values():
        name, colors = f"t-{style.name}", style.colors
        tint, line = colors.tint[theme.dark], colors.line[theme.dark]
        yield f".box.{name} {{ fill: {tint}; stroke: {line}; }}"
        yield f".line.{name} {{ stroke: {line}; }}"
        yield f".head.{name} {{ fill: {line}; }}"
        yield f".{TextRole.BADGE}.{name} {{ fill: {line}; }}"
        if style.of_path:
            # Texts of conditions too: green must not mean both "succeeded" and "on success".
            texts = ", ".join(f".{role}.{name}" for role in TextRole)
            color = theme.ink if style.name == "followed" else theme.soft
            yield f"{texts} {{ fill: {color}; }}"
        yield f".chip.{name} {{ fill: {colors.chip}; stroke: {line}; }}"
        ink = colors.ink or line
        yield f".glyph.{name} {{ stroke: {ink}; }}"
        yield f".solid.{name} {{ fill: {ink}; stroke-width: 1; }}"
