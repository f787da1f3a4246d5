"""States as they travel through a run: JSON text with the id of its dataclip."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clip:
    """A state as JSON text, and the id under which events name it."""

    id: str
    text: str


def identifiers(run_id: str) -> Iterator[str]:
    """An endless row of UUIDs that depends on the run's id alone, so that a replay has the same."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{run_id}:{number}".encode()).hexdigest()
        variant = "89ab"[int(digest[16], 16) & 3]
        yield (
            f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
        )
        number += 1
