"""Faults of a simulation, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum


class FaultKind(StrEnum):
    """Kind of a fault.

    ``MUTE`` loses what the target sends, ``DEAF`` what it should receive. A target that ``HANG``s
    does nothing for a time, and then goes on as if no time had passed.
    """

    MUTE = "mute"
    DEAF = "deaf"
    CUT = "cut"
    KILL = "kill"
    CLOCK = "clock"
    STORE = "store"
    HANG = "hang"


CONTROL = "control"
_KINDS = {
    True: (
        FaultKind.DEAF,
        FaultKind.CUT,
        FaultKind.KILL,
        FaultKind.CLOCK,
        FaultKind.STORE,
        FaultKind.HANG,
    ),
    False: (FaultKind.MUTE, FaultKind.DEAF, FaultKind.CUT, FaultKind.KILL, FaultKind.KILL),
}
# What a part does at these moments matters most: it has committed something, or is about to.
_MOMENTS = {
    True: ((FaultKind.KILL, "state"), (FaultKind.KILL, "rsp"), (FaultKind.CUT, "alerts")),
    False: ((FaultKind.MUTE, "start"), (FaultKind.MUTE, "reports"), (FaultKind.CUT, "claim")),
}
_DURATIONS_S = (0.3, 1.0, 3.0, 12.0, 25.0)
# A control plane that is away for long loses no run, but takes the time that workers need.
_MAX_CONTROL_S = 12.0
_AT_A_MOMENT = 0.4
"""Part of the faults that begin with a message."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class InjectedFault:
    """Fault of ``target`` that begins at ``at_s`` and lasts ``lasts_s`` seconds.

    With a ``channel``, the last level of a topic, it begins with the next message of the target on
    it, which is lost: moments that are too short to be met by chance. For a jump of the clock,
    ``lasts_s`` is how far it jumps forth; the next one is back.
    """

    at_s: float
    target: str
    kind: FaultKind
    lasts_s: float
    channel: str = ""

    def __str__(self) -> str:
        at = f" at its next {self.channel}" if self.channel else ""
        return f"{self.at_s:.1f} s: {self.kind.value} {self.target}{at} for {self.lasts_s:g} s"


def plane_names(count: int) -> list[str]:
    """List the names of so many control planes."""
    return [CONTROL, *(f"{CONTROL}-{number}" for number in range(2, count + 1))]


def is_plane(name: str) -> bool:
    return name.startswith(CONTROL)


def draw_faults(
    chance: random.Random,
    workers: list[str],
    duration_s: float,
    pause_s: float = 15.0,
    planes: int = 1,
) -> tuple[InjectedFault, ...]:
    """Draw faults that follow each other after ``pause_s`` seconds in the mean."""
    targets = [*workers, *plane_names(planes)]
    faults = []
    at_s = chance.expovariate(1 / pause_s)
    while at_s < duration_s:
        target = chance.choice(targets)
        kind, channel = chance.choice(_KINDS[is_plane(target)]), ""
        if chance.random() < _AT_A_MOMENT:
            kind, channel = chance.choice(_MOMENTS[is_plane(target)])
        lasts_s = chance.choice(_DURATIONS_S)
        if is_plane(target):
            lasts_s = min(lasts_s, _MAX_CONTROL_S)
        if kind is FaultKind.CLOCK:
            lasts_s = chance.choice((1.0, 60.0, 3600.0))
        faults.append(
            InjectedFault(at_s=at_s, target=target, kind=kind, lasts_s=lasts_s, channel=channel)
        )
        at_s += chance.expovariate(1 / pause_s)
    return tuple(faults)
