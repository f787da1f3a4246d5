"""A drawing as PNG, by resvg: it comes as a wheel with nothing else to install, where CairoSVG
asks for Cairo on the system. It takes its fonts from the system."""

from __future__ import annotations

import math
import re

from worker.errors import UsageError
from worker.view.graph.drawing import Drawing
from worker.view.graph.svg import svg

# Where a font lacks a sign, resvg shows the whole line in another one: these have them all.
_FONTS = "'DejaVu Sans', 'Segoe UI Symbol', 'Arial Unicode MS', 'Noto Sans', Arial, sans-serif"
_ZOOM = 2.0
# Drawing takes a second for 12 million pixels; what is larger than its own size is for looks alone.
_SHARP_PIXELS = 12_000_000
_MOST_PIXELS = 64_000_000


def png(drawing: Drawing) -> bytes:
    """The picture by day, up to twice its size.

    Raises :class:`UsageError` where the extra ``png`` is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise UsageError(
            "PNG needs the extra 'png': pip install 'workflow-worker[png]' (or write svg)"
        ) from error
    text = svg(drawing, night=False, sans=_FONTS)
    return bytes(resvg_py.svg_to_bytes(svg_string=text, zoom=_zoom(text)))


def _zoom(text: str) -> float:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert found is not None
    pixels = float(found[1]) * float(found[2])
    sharp = max(1.0, math.sqrt(_SHARP_PIXELS / pixels))
    return min(_ZOOM, sharp, math.sqrt(_MOST_PIXELS / pixels))
