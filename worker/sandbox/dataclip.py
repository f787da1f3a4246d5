"""Dataclips: states as JSON text, with their ids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from msgspec import Struct

_HEXADECIMAL = frozenset("0123456789abcdef")


class StateText(Struct, frozen=True):
    """A state as JSON text, and the dataclip id that events refer to it by."""

    id: str
    text: str


def generate_ids(seed: str) -> Iterator[str]:
    """Yield UUIDs made of a seed (32 hexadecimal digits) and a counter, without end."""
    head = _head(seed)
    for number in count():
        yield f"{head}{number:012x}"


def _head(seed: str) -> str:
    # The parent derives the seed from the run's id alone, so a replay generates the same ids.
    variant = "89ab"[int(seed[16], 16) & 3]
    return f"{seed[:8]}-{seed[8:12]}-4{seed[13:16]}-{variant}{seed[17:20]}-"


class IdSequence:
    """Recognises the ids that :func:`generate_ids` makes of a seed."""

    def __init__(self, seed: str) -> None:
        self._head = _head(seed)
        self._last = ""

    def has(self, id: str | None) -> bool:
        """Return whether this is an id of the sequence, or none."""
        # The head is the same for all ids of a run, and each id is this long.
        return id is None or (
            len(id) == 36 and id.startswith(self._head) and _HEXADECIMAL.issuperset(id[24:])
        )

    def advances(self, id: str) -> bool:
        """Return whether this is an id of the sequence, and later than those before."""
        # All have the same length, so their order as texts is that of their numbers.
        last, self._last = self._last, id
        return self.has(id) and id > last
