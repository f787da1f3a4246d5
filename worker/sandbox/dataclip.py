"""Dataclips: states as JSON text, with their ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class StateText:
    """A state as JSON text, and the dataclip id that events refer to it by."""

    id: str
    text: str


def generate_ids(seed: str) -> Iterator[str]:
    """Yield UUIDs made of a seed (32 hexadecimal digits) and a counter, without end."""
    # The parent derives the seed from the run's id alone, so a replay generates the same ids.
    variant = "89ab"[int(seed[16], 16) & 3]
    head = f"{seed[:8]}-{seed[8:12]}-4{seed[13:16]}-{variant}{seed[17:20]}-"
    for number in count():
        yield f"{head}{number:012x}"
