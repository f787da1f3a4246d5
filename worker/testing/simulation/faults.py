"""Faults of a simulation, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """Kind of a fault. ``MUTE`` loses what the target sends, ``DEAF`` what it should receive."""

    MUTE = "mute"
    DEAF = "deaf"
    CUT = "cut"
    KILL = "kill"
    CLOCK = "clock"
    STORE = "store"


CONTROL = "control"
_KINDS = {
    True: (FaultKind.DEAF, FaultKind.CUT, FaultKind.KILL, FaultKind.CLOCK, FaultKind.STORE),
    False: (FaultKind.MUTE, FaultKind.DEAF, FaultKind.CUT, FaultKind.KILL, FaultKind.KILL),
}
_DURATIONS_S = (0.3, 1.0, 3.0, 12.0, 25.0)
# A control plane that is away for long loses no run, but takes the time that workers need.
_MAX_CONTROL_S = 12.0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Fault:
    """Fault of ``target`` that begins at ``at_s`` and lasts ``lasts_s`` seconds.

    For a jump of the clock, ``lasts_s`` is how far it jumps forth; the next one is back.
    """

    at_s: float
    target: str
    kind: FaultKind
    lasts_s: float

    def __str__(self) -> str:
        return f"{self.at_s:.1f} s: {self.kind.value} {self.target} for {self.lasts_s:g} s"


def draw_faults(
    chance: random.Random, workers: list[str], duration_s: float, pause_s: float = 15.0
) -> tuple[Fault, ...]:
    """Draw faults that follow each other after ``pause_s`` seconds in the mean."""
    faults = []
    at_s = chance.expovariate(1 / pause_s)
    while at_s < duration_s:
        target = chance.choice([*workers, CONTROL])
        kind = chance.choice(_KINDS[target == CONTROL])
        lasts_s = chance.choice(_DURATIONS_S)
        if target == CONTROL:
            lasts_s = min(lasts_s, _MAX_CONTROL_S)
        if kind is FaultKind.CLOCK:
            lasts_s = chance.choice((1.0, 60.0, 3600.0))
        faults.append(Fault(at_s=at_s, target=target, kind=kind, lasts_s=lasts_s))
        at_s += chance.expovariate(1 / pause_s)
    return tuple(faults)
