"""Texts of a workflow's author prepared for rendering: cleaned, measured, shortened and wrapped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

# Workflows are of unknown origin: a text of megabytes would be measured character by character.
MAX_TEXT: Final = 2000
_REPLACED: Final = "�"
# Without these two, words in Persian and several Indian scripts fall apart.
_JOINERS: Final = frozenset("\u200c\u200d")
_UNSAFE: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))

# The font of the viewer is unknown, so widths come from a table of an average sans-serif font, with
# 12 % added.
_ROOM: Final = 1.12
_MONO: Final = 0.62
_BOLD: Final = 1.06
_NARROW: Final = {
    0.24: "ijl|'",
    0.30: " !,./:;I[]\\ft",
    0.36: '()-`r"{}*',
    0.50: "ckJsvxyz^",
    0.68: "ABEKPSVXY&",
    0.73: "CDHNRUw",
    0.79: "GOQ",
    0.86: "Mm%",
    0.96: "W@",
}
_WIDTHS: Final = {char: width for width, chars in _NARROW.items() for char in chars}
_AVERAGE: Final = 0.57


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Put the text on one line.

    Control characters, direction overrides and what XML cannot contain are replaced.
    """
    return " ".join(_safe(text, limit).split())


def clean_lines(text: str, limit: int = MAX_TEXT) -> str:
    """Clean the text, and keep the line breaks of the author."""
    lines = text[:limit].splitlines()
    more = ["…"] if len(text) > limit else []
    return "\n".join([*(_safe(line, limit).rstrip() for line in lines), *more]).strip()


def _safe(text: str, limit: int) -> str:
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return "".join(map(_safe_char, cut))


def _safe_char(char: str) -> str:
    if char.isspace():
        return " "
    unsafe = unicodedata.category(char) in _UNSAFE and char not in _JOINERS
    return _REPLACED if unsafe else char


def shorten(text: str, limit: int) -> str:
    """Cut the text to ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def text_width(text: str, size: float, *, bold: bool = False, mono: bool = False) -> float:
    """Estimate the width of a line in pixels, rather too wide than too narrow."""
    ems = sum(_width_em(char, mono) for char in text)
    return ems * size * _ROOM * (_BOLD if bold and not mono else 1)


def _width_em(char: str, mono: bool) -> float:
    if unicodedata.combining(char) or char in _JOINERS:
        return 0
    if unicodedata.east_asian_width(char) in "WF" or ord(char) > 0xFFFF:
        return 1.05
    if mono:
        return _MONO
    return _WIDTHS.get(char, _AVERAGE if char.isascii() else 0.72)


def wrap(
    text: str, limit: float, size: float, lines: int, *, bold: bool = False, mono: bool = False
) -> tuple[str, ...]:
    """Wrap the text to at most ``lines`` lines of at most ``limit`` pixels; the last is cut."""

    def fits(line: str) -> bool:
        return text_width(line, size, bold=bold, mono=mono) <= limit

    lines_so_far: list[str] = []
    rest = text
    while rest and len(lines_so_far) < lines:
        end = _longest(rest, fits)
        if end < len(rest) and len(lines_so_far) + 1 < lines:
            end = _break(rest, end)
        lines_so_far.append(rest[:end].strip())
        rest = rest[end:].strip()
    if rest:
        lines_so_far[-1] = _ellipsis(lines_so_far[-1], fits)
    return tuple(lines_so_far)


def _longest(text: str, fits: Callable[[str], bool]) -> int:
    """Count the characters of a text that fit, at least 1."""
    # Binary search: a text may have thousands of characters, and measuring is linear.
    low, high = 1, min(len(text), 400)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(text[:middle]) else (low, middle - 1)
    return low


def _break(text: str, end: int) -> int:
    """Find the best index up to ``end`` to break at: after a word or a symbol, if any."""
    places = [match.end() for match in re.finditer(r"\s+|[-_/.=&|,](?=\w)", text[: end + 1])]
    # A break in the first third would leave a nearly empty line.
    good = [place for place in places if end // 3 < place <= end + 1]
    return good[-1] if good else end


def _ellipsis(line: str, fits: Callable[[str], bool]) -> str:
    while line and not fits(f"{line}…"):
        line = line[:-1].rstrip()
    return f"{line}…"
