"""Tables as lines of text: wrapped to the width of a terminal, whole in a pipe."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

_GAP = "  "
_MIN_WIDTH = 12


def terminal_width() -> int | None:
    """Return the columns of the terminal, or ``None`` where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Format rows in columns; cells wrap where ``width`` columns are too few for their text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        widths = _fit(widths, width - len(_GAP) * (len(widths) - 1))
    for row in rows:
        cells = [_wrap(cell, columns) for cell, columns in zip(row, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            padded = (f"{part:<{columns}}" for part, columns in zip(parts, widths, strict=True))
            yield _GAP.join(padded).rstrip()


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _fit(widths: list[int], space: int) -> list[int]:
    """Return the widths, the widest reduced until all fit ``space`` or are at their minimum."""
    fitted = list(widths)
    while sum(fitted) > space and max(fitted) > _MIN_WIDTH:
        widest = fitted.index(max(fitted))
        others = max([width for index, width in enumerate(fitted) if index != widest], default=0)
        excess = sum(fitted) - space
        fitted[widest] = max(
            _MIN_WIDTH, min(max(others, fitted[widest] - excess), fitted[widest] - 1)
        )
    return fitted
