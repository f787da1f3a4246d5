"""The end of a worker that drains: how long it waits for its runs and for responses. Pure."""

from __future__ import annotations

import math

RESPONSE_DRAIN_S = 30.0
"""How long a worker that drains waits for responses after the end of its last run."""


class Drain:
    """Whether a worker drains, and until when. Times are in seconds, by any monotonic clock."""

    def __init__(self) -> None:
        self.begun = False
        self._timeout_s: float | None = None
        self._deadline = self._response_deadline = math.inf

    def begin(self, timeout_s: float | None, now: float) -> None:
        """Begin to drain; without a timeout, the runs have as long as their limits allow."""
        self.begun = True
        self._timeout_s = timeout_s
        self._deadline = math.inf if timeout_s is None else now + timeout_s

    @property
    def reason(self) -> str:
        """Why the runs that are aborted were not waited for."""
        timeout_s = self._timeout_s
        return "" if timeout_s is None else f"its drain time of {timeout_s:g} s was over"

    def is_over(self, now: float, *, running: bool, waiting: bool, away_deadline: float) -> bool:
        """Return whether the worker ends, which runs are ``running`` or ``waiting`` for responses.

        After ``away_deadline`` waiting for the broker is of no use.
        """
        if not self.begun:
            return False
        if running:
            self._response_deadline = math.inf
            return now > self._deadline
        if not waiting:
            return True
        # What is left needs responses, which may never come: the runs have no limit that counts
        # here. Reports stay in the outbox, for the next start.
        self._response_deadline = min(self._response_deadline, now + RESPONSE_DRAIN_S)
        return now > min(self._deadline, self._response_deadline, away_deadline)
