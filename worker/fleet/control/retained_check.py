"""Check whether a broker still has its retained messages after a reconnect. Pure."""

from __future__ import annotations

CHECK_AFTER_S = 2.0
"""How long the retained presence of a control plane may take to arrive."""


class RetainedCheck:
    """Notices a broker that was restarted without its retained messages, or that was sent too few.

    Times are in seconds, by any monotonic clock.
    """

    def __init__(self) -> None:
        self._cause = ""
        self._check_at: float | None = None
        self._was_connected = False

    def connected(self, now: float) -> None:
        """Begin to wait for the presence, which the broker should have retained."""
        # A check that was cut off cannot be repeated: the presence was published since.
        if self._check_at is not None:
            self._check_at = None
            self._note("broker.retained_messages_unknown")
        # What the first connection of a process has to publish is known from the checkpoint.
        elif self._was_connected:
            self._check_at = now + CHECK_AFTER_S
        self._was_connected = True

    def presence_retained(self) -> None:
        """Record that the broker has retained a presence from before."""
        self._check_at = None

    def lost(self) -> None:
        """Record that states may have been lost on the way to the broker."""
        self._note("broker.states_dropped")

    def take_cause(self, now: float) -> str:
        """Return, once, why all states are to be published again; empty where they are not."""
        if self._check_at is not None and now >= self._check_at:
            self._check_at = None
            self._note("broker.forgot_retained_messages")
        cause, self._cause = self._cause, ""
        return cause

    def _note(self, cause: str) -> None:
        # The first of several causes: the others are met by the same publication.
        self._cause = self._cause or cause
