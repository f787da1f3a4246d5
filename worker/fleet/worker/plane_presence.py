"""Presence of a control plane, as a worker knows it, and when its absence is worth a message."""

from __future__ import annotations

import math

from worker.fleet.messaging.worker_protocol import Presence

# The presence is retained: the broker sends it within milliseconds of the subscription.
NOTICE_S = 1.0
GONE = Presence(incarnation="gone", online=False)
"""Presence of a control plane whose retained message was cleared: an empty one deletes it."""


class PlanePresence:
    """Incarnation of the control plane that is online; an empty text for none."""

    def __init__(self) -> None:
        self.incarnation = ""
        self._absent_since = math.inf

    def connect(self, now: float) -> None:
        """Expect the presence from now on."""
        if not self.incarnation:
            self._absent_since = now

    def disconnect(self) -> None:
        """Report no absence that cannot be known."""
        self._absent_since = math.inf

    def update(self, presence: Presence, now: float) -> bool:
        """Take over a presence; return True for a control plane that is new."""
        previous = self.incarnation
        self.incarnation = presence.incarnation if presence.online else ""
        self._absent_since = math.inf if presence.online else now
        return self.incarnation not in ("", previous)

    def take_absence(self, now: float) -> bool:
        """Return True once for each absence that has lasted for a while."""
        is_due = now - self._absent_since > NOTICE_S
        if is_due:
            self._absent_since = math.inf
        return is_due
