"""The time that a run sees: the machine's, or a virtual one that moves only where it is told to."""

from __future__ import annotations

import time


class Clock:
    """Microseconds since the epoch.

    With ``start`` the time is virtual: it begins there, and moves by :meth:`skip` alone, so that
    a run is the same every time. Without, it is the machine's time and what was skipped.
    """

    def __init__(self, start: int | None = None) -> None:
        self._start = start
        self._skipped = 0.0

    @property
    def virtual(self) -> bool:
        return self._start is not None

    @property
    def skipped(self) -> float:
        """Seconds, infinity included."""
        return self._skipped

    def skip(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self._skipped += seconds

    def now(self) -> int:
        start = time.time_ns() // 1000 if self._start is None else self._start
        return start + int(min(self._skipped, _FAR) * 1e6)


_FAR = 1e9
"""Where infinity lies on the clock: in some thirty years."""
