"""CSS rules for the colors of statuses and the fonts, the same as in graphs."""

from __future__ import annotations

from collections.abc import Iterator

from worker.view.graph.annotation_styles import ANNOTATION_STYLES
from worker.view.graph.themes import MONO, SANS


def status_rules(*, dark: bool) -> Iterator[str]:
    """Yield the rules of a theme. ``--status`` fills; ``--status-text`` has enough contrast."""
    if not dark:
        yield f":root {{ --sans: {SANS}; --mono: {MONO}; }}"
    for style in ANNOTATION_STYLES.values():
        yield f".s-{style.name} {{ --status: {style.colors.line[dark]}; }}"
    names = ", ".join(f".s-{name}" for name in ANNOTATION_STYLES)
    # Pure colors have too little contrast for text, so they are mixed with the text color.
    yield f"{names} {{ --status-text: color-mix(in srgb, var(--status) 72%, var(--ink)); }}"
