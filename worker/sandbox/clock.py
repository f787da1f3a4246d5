"""Clock of a run, in microseconds since the epoch.

``MACHINE``   the machine's clock, plus the time that was skipped.
``VIRTUAL``   stands still and moves only when time is skipped: the same in every run.
``RECORDED``  stands still too, but is set to the machine's clock at the start of each step and when
              a host call is answered. A recording holds those times, so a replay sets its clock
              to them and every job reads the same time again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum

READ_STEP_US = 10
"""Microseconds by which a job's read moves a clock that stands still.

Without it, a job that polls the time until it has passed would never end.
"""

_FAR_S = 1e9
"""Upper bound for skipped time, some thirty years: infinity does not fit an integer."""


class ClockKind(StrEnum):
    """Kinds of clock."""

    MACHINE = "machine"
    VIRTUAL = "virtual"
    RECORDED = "recorded"


class Clock:
    """Clock of one run. ``moments`` are the times of a recording, by step and execution."""

    def __init__(
        self, kind: ClockKind, start: int = 0, moments: Mapping[tuple[str, int], int] | None = None
    ) -> None:
        self.kind = kind
        self._now = _machine_us() if kind is ClockKind.RECORDED else start
        self._skipped_s = 0.0
        self._moments = moments or {}

    @property
    def stands_still(self) -> bool:
        """True for a clock that moves only when it is set."""
        return self.kind is not ClockKind.MACHINE

    @property
    def skipped_s(self) -> float:
        """Seconds that were skipped; may be infinite."""
        return self._skipped_s

    def now(self) -> int:
        """Return the time, without moving the clock."""
        if self.kind is ClockKind.MACHINE:
            return _machine_us() + int(min(self._skipped_s, _FAR_S) * 1e6)
        return self._now

    def read(self) -> int:
        """Return the time for a job; a clock that stands still moves by ``READ_STEP_US``."""
        if self.stands_still:
            self._now += READ_STEP_US
        return self.now()

    def skip(self, seconds: float) -> None:
        """Move the clock forward."""
        self._skipped_s += seconds
        self._now += int(min(seconds, _FAR_S) * 1e6)

    def reach(self, moment: int) -> None:
        """Set the clock to a time, unless it is past it already."""
        self._now = max(self._now, moment)

    def begin_step(self, step: str, execution: int) -> None:
        """Set the clock for the start of a step: to the recorded time, or to the machine's."""
        if self.kind is ClockKind.RECORDED:
            self.reach(_machine_us())
        else:
            self.reach(self._moments.get((step, execution), 0))


def _machine_us() -> int:
    return time.time_ns() // 1000
