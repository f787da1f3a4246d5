"""Text edits over the bytes of a source, applied in one pass that keeps line numbers."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

_BLOCK_BYTES = 256
_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))

# The order of edits at one offset: what closes there comes before what opens there.
_FIRST, _CLOSE, _OPEN, _REPLACE = range(4)


@dataclass(slots=True)
class Edits:
    """Edits collected in any order. Wraps nest by their ranges; replacements never overlap."""

    source: bytes
    _edits: list[tuple[int, int, int, int, int, bytes]] = field(default_factory=list)

    def replace(self, start: int, end: int, text: bytes) -> None:
        """Replace a range by ``text``."""
        # The range's line feeds are kept, so that every line keeps its number.
        text += b"\n" * self.source.count(b"\n", start, end)
        self._edits.append((start, _REPLACE, 0, 0, end, text))

    def wrap(self, start: int, end: int, before: bytes, after: bytes) -> None:
        """Insert text around a range. Of several at one offset, the outermost opens first."""
        order = len(self._edits)
        self._edits.append((start, _OPEN, -end, order, start, before))
        self._edits.append((end, _CLOSE, -start, -order, end, after))

    def head(self, end: int, text: bytes) -> None:
        """Replace the first ``end`` bytes by ``text``, before all other edits."""
        self._edits.append((0, _FIRST, 0, 0, end, text))

    def apply(self) -> Edited:
        edits = sorted(self._edits)
        parts: list[bytes] = []
        position = 0
        for start, _, _, _, end, text in edits:
            parts += (self.source[position:start], text)
            position = end
        parts.append(self.source[position:])
        growth = (len(text) - (end - start) for start, _, _, _, end, text in edits)
        ends = [edit[4] for edit in edits]
        return Edited(self.source, b"".join(parts), ends, list(accumulate(growth)))


@dataclass(frozen=True, slots=True)
class Edited:
    """Edited source: ``body`` is ``source`` after its edits. An edit moves what follows its end."""

    source: bytes
    body: bytes
    _ends: list[int]
    _shifts: list[int]

    def moved(self, offset: int) -> int:
        """Map an offset in the source to that in the body."""
        count = bisect_right(self._ends, offset)
        return offset + self._shifts[count - 1] if count else offset

    def positions(self) -> tuple[tuple[int, int, int], ...]:
        """Return (line, generated column, original column) of each stretch after an edit.

        They count from 1, in code points. Lines without edits have none.
        """
        source, body = ColumnCounter(self.source), ColumnCounter(self.body)
        positions: list[tuple[int, int, int]] = []
        line, counted = 1, 0
        for index, end in enumerate(self._ends):
            # Of several edits at one offset, only the last begins a stretch.
            if index + 1 < len(self._ends) and self._ends[index + 1] == end:
                continue
            line, counted = line + self.source.count(b"\n", counted, end), end
            generated, original = body.column(end + self._shifts[index]), source.column(end)
            if generated != original or (positions and positions[-1][0] == line):
                positions.append((line, generated, original))
        return tuple(positions)


class Positions:
    """Lines and columns of any offsets, each in constant time, from 1 and in code points."""

    __slots__ = ("_before", "_line_starts", "_text")

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._line_starts = [0, *(match.end() for match in re.finditer(rb"\n", text))]
        blocks = range(0, len(text), _BLOCK_BYTES)
        counts = (_count_characters(text[start : start + _BLOCK_BYTES]) for start in blocks)
        self._before = list(accumulate(counts, initial=0))

    def line(self, offset: int) -> int:
        return bisect_right(self._line_starts, offset)

    def column(self, offset: int) -> int:
        line_start = self._line_starts[self.line(offset) - 1]
        return self._characters(offset) - self._characters(line_start) + 1

    def _characters(self, offset: int) -> int:
        block = offset // _BLOCK_BYTES
        rest = self._text[block * _BLOCK_BYTES : offset]
        return self._before[block] + _count_characters(rest)


def _count_characters(text: bytes) -> int:
    return len(text) if text.isascii() else len(text.translate(None, _CONTINUATION_BYTES))


class ColumnCounter:
    """Computes columns of ascending offsets: a line is decoded once, however many edits it has."""

    __slots__ = ("_column", "_offset", "_text")

    def __init__(self, text: bytes) -> None:
        self._text, self._offset, self._column = text, 0, 1

    def column(self, offset: int) -> int:
        line_start = self._text.rfind(b"\n", self._offset, offset) + 1
        if line_start:
            self._offset, self._column = line_start, 1
        self._column += len(self._text[self._offset : offset].decode())
        self._offset = offset
        return self._column
