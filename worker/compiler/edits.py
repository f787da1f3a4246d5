"""Text edits over the bytes of a source, applied in one pass that keeps every line in place."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

_FIRST, _CLOSE, _OPEN, _REPLACE = range(4)


@dataclass(slots=True)
class Edits:
    """Edits collected in any order. Wraps nest by their ranges; replacements never overlap."""

    source: bytes
    _edits: list[tuple[int, int, int, int, int, bytes]] = field(default_factory=list)

    def replace(self, start: int, end: int, text: bytes) -> None:
        """Put ``text`` in the place of a range; the range's line feeds stay, after it."""
        text += b"\n" * self.source.count(b"\n", start, end)
        self._edits.append((start, _REPLACE, 0, 0, end, text))

    def wrap(self, start: int, end: int, before: bytes, after: bytes) -> None:
        """Enclose a range. What opens outermost at a place closes last."""
        turn = len(self._edits)
        self._edits.append((start, _OPEN, -end, turn, start, before))
        self._edits.append((end, _CLOSE, -start, -turn, end, after))

    def head(self, end: int, text: bytes) -> None:
        """Put ``text`` before everything else, in the place of the first ``end`` bytes."""
        self._edits.append((0, _FIRST, 0, 0, end, text))

    def apply(self) -> Edited:
        edits = sorted(self._edits)
        parts: list[bytes] = []
        at = 0
        for start, _, _, _, end, text in edits:
            parts += (self.source[at:start], text)
            at = end
        parts.append(self.source[at:])
        growth = (len(text) - (end - start) for start, _, _, _, end, text in edits)
        ends = [edit[4] for edit in edits]
        return Edited(self.source, b"".join(parts), ends, list(accumulate(growth)))


@dataclass(frozen=True, slots=True)
class Edited:
    """``body`` is ``source`` after its edits; an edit moves what stands at and after its end."""

    source: bytes
    body: bytes
    _ends: list[int]
    _shifts: list[int]

    def moved(self, offset: int) -> int:
        """Where a byte of the source stands in the body."""
        at = bisect_right(self._ends, offset)
        return offset + self._shifts[at - 1] if at else offset

    def positions(self) -> tuple[tuple[int, int, int], ...]:
        """(line, generated column, original column) of each stretch after an edit, from 1, in
        code points. Lines without edits need none: they stand as they were."""
        source, body = _Columns(self.source), _Columns(self.body)
        found: list[tuple[int, int, int]] = []
        line, counted = 1, 0
        for at, end in enumerate(self._ends):
            if at + 1 < len(self._ends) and self._ends[at + 1] == end:
                continue
            line, counted = line + self.source.count(b"\n", counted, end), end
            generated, original = body.of(end + self._shifts[at]), source.of(end)
            if generated != original or (found and found[-1][0] == line):
                found.append((line, generated, original))
        return tuple(found)


class _Columns:
    """Columns of growing offsets: a long line is read once, however many edits it has."""

    __slots__ = ("_at", "_column", "_text")

    def __init__(self, text: bytes) -> None:
        self._text, self._at, self._column = text, 0, 1

    def of(self, offset: int) -> int:
        line_start = self._text.rfind(b"\n", self._at, offset) + 1
        if line_start:
            self._at, self._column = line_start, 1
        self._column += len(self._text[self._at : offset].decode())
        self._at = offset
        return self._column
