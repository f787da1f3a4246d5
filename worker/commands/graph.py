"""``worker graph``: a workflow as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from worker.errors import UsageError
from worker.pictures.drawing import Drawing, draw
from worker.pictures.mermaid import dot, mermaid
from worker.pictures.svg import html, svg
from worker.plan.load import load
from worker.sinks.text import printable

FORMATS: dict[str, Callable[[Drawing], str]] = {
    "svg": svg,
    "html": html,
    "mmd": mermaid,
    "dot": dot,
}


def graph(file: Path, workflow: str | None, output: Path | None) -> int:
    """Write the picture; without a file, as Mermaid to stdout."""
    drawing = draw(load(file, workflow=workflow))
    if output is None:
        print(mermaid(drawing), end="")
    else:
        write(drawing, output)
        print(f"wrote {printable(str(output))}")
    return 0


def write(drawing: Drawing, output: Path) -> None:
    """Write a drawing in the format that the file's name asks for."""
    make = FORMATS.get(output.suffix.lstrip("."))
    if make is None:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError(f"a picture ends in one of {known}, found {output}")
    try:
        output.write_text(make(drawing), "utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
