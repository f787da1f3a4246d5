"""The colours of statuses as rules of a style sheet, and the fonts: those of the pictures."""

from __future__ import annotations

from collections.abc import Iterator

from worker.view.graph.palette import TONES
from worker.view.graph.styles import MONO, SANS


def colours(*, night: bool) -> Iterator[str]:
    """``--tone`` fills, and ``--tone-text`` is near it, and dark or light enough to be read."""
    if not night:
        yield f":root {{ --sans: {SANS}; --mono: {MONO}; }}"
    for tone in TONES.values():
        yield f".s-{tone.name} {{ --tone: {tone.colours.line[night]}; }}"
    names = ", ".join(f".s-{name}" for name in TONES)
    yield f"{names} {{ --tone-text: color-mix(in srgb, var(--tone) 72%, var(--ink)); }}"
