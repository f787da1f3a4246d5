"""PNG output, rendered by resvg with the fonts of the system."""

from __future__ import annotations

import math
import re

from worker.errors import UsageError
from worker.view.graph.drawing import Drawing
from worker.view.graph.svg import render_svg

# resvg comes as a wheel without dependencies; CairoSVG needs the Cairo library on the system.
# Where a font lacks a glyph, resvg renders the whole line in another font: these have all glyphs.
_FONTS = "'DejaVu Sans', 'Segoe UI Symbol', 'Arial Unicode MS', 'Noto Sans', Arial, sans-serif"
_ZOOM = 2.0
# Rendering takes a second for 12 million pixels, so only smaller graphs are enlarged.
_SHARP_PIXELS = 12_000_000
_MOST_PIXELS = 64_000_000


def render_png(drawing: Drawing) -> bytes:
    """Render the graph in the light theme, at up to twice its size.

    Raises :class:`UsageError` where the extra ``render_png`` is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise UsageError(
            "PNG needs the extra 'png': pip install 'workflow-worker[png]' (or write svg)"
        ) from error
    text = render_svg(drawing, dark=False, sans=_FONTS)
    return bytes(resvg_py.svg_to_bytes(svg_string=text, zoom=_zoom(text)))


def _zoom(text: str) -> float:
    match = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert match is not None
    pixels = float(match[1]) * float(match[2])
    affordable = max(1.0, math.sqrt(_SHARP_PIXELS / pixels))
    return min(_ZOOM, affordable, math.sqrt(_MOST_PIXELS / pixels))
