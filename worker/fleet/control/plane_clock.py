"""The clock of a control plane: monotonic between synchronisations with the clock of its store.

Control planes that share a PostgreSQL database have its time, so that their own clocks do not
matter to leases. A clock that is set back or forth shows as a jump at a synchronisation, which the
processor takes for a pause of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.util.machine_clock import monotonic_ns as machine_monotonic_ns


class PlaneClock:
    """A clock that follows ``read``, which returns microseconds since the epoch."""

    def __init__(
        self, read: Callable[[], int], monotonic_ns: Callable[[], int] = machine_monotonic_ns
    ) -> None:
        self._read = read
        self._monotonic_ns = monotonic_ns
        self._offset_us: int | None = None

    def synchronise(self) -> int:
        """Follow the clock anew, and return the time in microseconds since the epoch."""
        now_us = self._read()
        self._offset_us = now_us - self._monotonic_ns() // 1000
        return now_us

    def now_us(self) -> int:
        """Return the time in microseconds since the epoch."""
        if self._offset_us is None:
            return self.synchronise()
        return self._monotonic_ns() // 1000 + self._offset_us
