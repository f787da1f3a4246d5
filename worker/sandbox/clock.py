"""Clock of a run, in microseconds since the epoch.

``MACHINE``   the machine's clock, plus the time that was skipped.
``VIRTUAL``   stands still and moves only when time is skipped: the same in every run.
``RECORDED``  stands still too, but is set to the machine's clock at the start of each step and when
              a host call is answered. A recording holds those times, so a replay sets its clock
              to them and every job reads the same time again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

from worker.util.machine_clock import now_us

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
    """Clock of one run. ``start_us`` is the first time of a virtual one.

    ``moments_us`` are the start times of a recording's executions, by step and execution.
    """

    def __init__(
        self,
        kind: ClockKind,
        start_us: int = 0,
        moments_us: Mapping[tuple[str, int], int] | None = None,
    ) -> None:
        self.kind = kind
        self._now_us = now_us() if kind is ClockKind.RECORDED else start_us
        self._skipped_s = 0.0
        self._skipped_us = 0
        self._moments_us = moments_us or {}

    @property
    def stands_still(self) -> bool:
        """True for a clock that moves only when it is set."""
        return self.kind is not ClockKind.MACHINE

    @property
    def skipped_s(self) -> float:
        """Seconds that were skipped; may be infinite."""
        return self._skipped_s

    def now_us(self) -> int:
        """Return the time without moving the clock."""
        if self.kind is ClockKind.MACHINE:
            return now_us() + self._skipped_us
        return self._now_us

    def read(self) -> int:
        """Return the time for a job; a clock that stands still moves by ``READ_STEP_US``."""
        if self.stands_still:
            self._now_us += READ_STEP_US
        return self.now_us()

    def stopwatch(self) -> Callable[[], int]:
        """Return a function that measures the microseconds since now."""
        started_us = self.now_us()
        if self.kind is not ClockKind.RECORDED:
            return lambda: self.now_us() - started_us
        # It stands still while a step computes, and that takes time all the same.
        machine_us = now_us()
        return lambda: max(self.now_us() - started_us, now_us() - machine_us)

    def skip(self, seconds: float) -> None:
        """Move the clock forward."""
        self._skipped_s += seconds
        self._skipped_us = int(min(self._skipped_s, _FAR_S) * 1e6)
        self._now_us += int(min(seconds, _FAR_S) * 1e6)

    def reach(self, moment_us: int) -> None:
        """Set the clock to a time, unless it is past it already."""
        self._now_us = max(self._now_us, moment_us)

    def begin_step(self, step: str, execution: int) -> None:
        """Set the clock for the start of a step: to the recorded time, or to the machine's."""
        if self.kind is ClockKind.RECORDED:
            self.reach(now_us())
        else:
            self.reach(self._moments_us.get((step, execution), 0))
