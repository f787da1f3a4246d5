"""Detection of an event loop that has stopped."""

from __future__ import annotations

from worker.util import machine_clock

STALLED_S = 120.0
"""A process whose event loop does nothing for so long has to be started again."""


class Liveness:
    """Time since the work of an event loop was last marked; read from another thread."""

    def __init__(self) -> None:
        self.mark()

    def mark(self) -> float:
        """Record that the event loop works, and return the time, in seconds by any clock."""
        self._marked_at = machine_clock.monotonic_s()
        return self._marked_at

    @property
    def stalled(self) -> str:
        """Why the process has to be started again; empty while it works."""
        silent_s = machine_clock.monotonic_s() - self._marked_at
        return (
            f"the event loop has done nothing for {silent_s:.0f} s" if silent_s > STALLED_S else ""
        )
