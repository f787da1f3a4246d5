"""Check whether a broker still has its retained messages after a reconnect. Pure."""

from __future__ import annotations

CHECK_AFTER_S = 2.0
"""How long the retained presence of a control plane may take to arrive."""

Place = tuple[int, str]
"""The time of a run's last change, and its id."""


class RetainedCheck:
    """Notices a broker that was restarted without its retained messages.

    They are published again in pages; ``after`` is where the next one begins, and ``None`` where
    nothing is to be published. Times are in seconds, by any monotonic clock.
    """

    def __init__(self) -> None:
        self.after: Place | None = None
        self._check_at: float | None = None
        self._was_connected = False

    def connected(self, now: float) -> None:
        """Begin to wait for the presence, which the broker should have retained."""
        # A check that was cut off cannot be repeated: the presence was published since.
        if self._check_at is not None:
            self.after, self._check_at = (0, ""), None
        # What the first connection of a process has to publish is known from the checkpoint.
        elif self._was_connected:
            self._check_at = now + CHECK_AFTER_S
        self._was_connected = True

    def presence_retained(self) -> None:
        """Record that the broker has retained a presence from before."""
        self._check_at = None

    def due(self, now: float) -> bool:
        """Return True where states are to be published again."""
        if self._check_at is not None and now >= self._check_at:
            self.after, self._check_at = (0, ""), None
        return self.after is not None
