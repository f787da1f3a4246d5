"""The formats that a drawing can be written in, by the ends of files' names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from worker.errors import UsageError
from worker.view.graph.dot import dot
from worker.view.graph.drawing import Drawing
from worker.view.graph.html import html
from worker.view.graph.mermaid import mermaid
from worker.view.graph.png import png
from worker.view.graph.svg import svg

FORMATS: Final[dict[str, Callable[[Drawing], str | bytes]]] = {
    "svg": svg,
    "png": png,
    "html": html,
    "mmd": mermaid,
    "dot": dot,
}
_ALSO: Final = {"htm": "html", "mermaid": "mmd", "gv": "dot"}


def format_of(file: Path) -> str:
    """The format that a file's name asks for. Raises UsageError for others."""
    suffix = file.suffix.lower().removeprefix(".")
    return _known(_ALSO.get(suffix, suffix), f"{file.name} does not end in a format's name")


def write(drawing: Drawing, format: str) -> bytes:
    """The drawing in a format. Raises UsageError for one that is not known, or not installed, and
    for a drawing that is too large."""
    found = FORMATS[_known(format, f"'{format}' is no format")](drawing)
    return found if isinstance(found, bytes) else found.encode()


def _known(format: str, otherwise: str) -> str:
    if format not in FORMATS:
        raise UsageError(f"{otherwise} (there are: {', '.join(FORMATS)})")
    return format
