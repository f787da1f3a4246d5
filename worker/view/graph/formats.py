"""Output formats, by the suffix of file names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from worker.errors import UsageError
from worker.view.graph.dot import render_dot
from worker.view.graph.drawing import Drawing
from worker.view.graph.html import render_html
from worker.view.graph.mermaid import render_mermaid
from worker.view.graph.png import render_png
from worker.view.graph.svg import render_svg

FORMATS: Final[dict[str, Callable[[Drawing], str | bytes]]] = {
    "svg": render_svg,
    "png": render_png,
    "html": render_html,
    "mmd": render_mermaid,
    "dot": render_dot,
}
_ALIASES: Final = {"htm": "html", "mermaid": "mmd", "gv": "dot"}


def format_from_name(file: Path) -> str:
    """Return the format of a file name's suffix. Raises UsageError for an unknown one."""
    suffix = file.suffix.lower().removeprefix(".")
    return _check_known(_ALIASES.get(suffix, suffix), f"{file.name}: unknown suffix '{suffix}'")


def render(drawing: Drawing, format: str) -> bytes:
    """Render the drawing in a format.

    Raises UsageError for an unknown format, for one whose extra is not installed, and for a
    drawing that is too large.
    """
    content = FORMATS[_check_known(format, f"unknown format '{format}'")](drawing)
    return content if isinstance(content, bytes) else content.encode()


def _check_known(format: str, problem: str) -> str:
    if format not in FORMATS:
        raise UsageError(f"{problem} (expected one of {', '.join(FORMATS)})")
    return format
