"""The time that a run sees, in microseconds since the epoch.

``MACHINE``   what the machine's clock says, and what was skipped.
``VIRTUAL``   stands still, and moves where it is told to: the same in every run.
``RECORDED``  stands still too, but is set by the machine's clock where a run meets the world: at
              the start of a step, and when a call is answered. Those moments are in the recording,
              so a replay that is set by them tells every job the same time again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from enum import StrEnum

LOOK = 10
"""What a job's look at a clock that stands still moves it by, or a job that waits by looking would
never end."""

_FAR = 1e9
"""Where infinity lies on the clock: in some thirty years."""


class ClockKind(StrEnum):
    MACHINE = "machine"
    VIRTUAL = "virtual"
    RECORDED = "recorded"


class Clock:
    """The clock of one run. ``moments`` are those of a recording, by step and execution."""

    def __init__(
        self, kind: ClockKind, start: int = 0, moments: Mapping[tuple[str, int], int] | None = None
    ) -> None:
        self.kind = kind
        self._now = _machine() if kind is ClockKind.RECORDED else start
        self._skipped = 0.0
        self._moments = moments or {}

    @property
    def stands_still(self) -> bool:
        return self.kind is not ClockKind.MACHINE

    @property
    def skipped(self) -> float:
        """Seconds, infinity included."""
        return self._skipped

    def now(self) -> int:
        if self.kind is ClockKind.MACHINE:
            return _machine() + int(min(self._skipped, _FAR) * 1e6)
        return self._now

    def look(self) -> int:
        """:meth:`now`, for a job."""
        if self.stands_still:
            self._now += LOOK
        return self.now()

    def skip(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._skipped += seconds
        self._now += int(min(seconds, _FAR) * 1e6)

    def reach(self, moment: int) -> None:
        """Let time pass until a moment, if it has not come yet."""
        self._now = max(self._now, moment)

    def begin_step(self, step: str, execution: int) -> None:
        """A step begins: a moment of the recording, or of the machine."""
        if self.kind is ClockKind.RECORDED:
            self.reach(_machine())
        else:
            self.reach(self._moments.get((step, execution), 0))


def _machine() -> int:
    return time.time_ns() // 1000
