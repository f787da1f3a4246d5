"""States as they travel through a run: JSON text with the id of its dataclip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class StateText:
    """A state as JSON text, and the id under which events name it."""

    id: str
    text: str


def identifiers(seed: str) -> Iterator[str]:
    """An endless row of UUIDs, made of 32 hexadecimal digits and a counter.

    The parent derives the seed from the run's id alone, so a replay has the same row.
    """
    variant = "89ab"[int(seed[16], 16) & 3]
    head = f"{seed[:8]}-{seed[8:12]}-4{seed[13:16]}-{variant}{seed[17:20]}-"
    for number in count():
        yield f"{head}{number:012x}"
