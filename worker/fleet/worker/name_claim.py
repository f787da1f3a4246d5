"""The name of a worker, which the control plane grants to one incarnation at a time."""

from __future__ import annotations

from worker.errors import UsageError
from worker.fleet.messaging.worker_protocol import NameRefusal
from worker.util.utc_time import utc_moment

REPEAT_BIRTH_S = 1.0
GRANTED_AFTER_S = 3.0
"""A birth without a refusal for this long is granted."""
NAME_WAIT_S = 15.0
"""How long a worker waits for its name: longer than the usual lease of a holder that is gone."""


class NameClaim:
    """The right of an incarnation to a name. With ``standby`` it waits for it without a limit."""

    def __init__(self, name: str, incarnation: str, *, standby: bool = False) -> None:
        self._name = name
        self._incarnation = incarnation
        self._standby = standby
        self._refused_since: float | None = None
        self._refused_at = 0.0
        self._born_at = 0.0
        self.refused = ""
        """Why the worker may not use its name; empty while it may."""

    def refuse(self, refusal: NameRefusal, now: float) -> None:
        """Handle a refusal. Raises :class:`UsageError` after ``NAME_WAIT_S`` of them."""
        if self._refused_since is None:
            self._refused_since = now
        self._refused_at = now
        since = utc_moment(refusal.since)
        self.refused = (
            f"the name '{self._name}' is taken by another worker: {refusal.holder}"
            f"{refusal.host and ' on '}{refusal.host}, since {since:%Y-%m-%d %H:%M:%S} UTC"
        )
        if not self._standby and now - self._refused_since > NAME_WAIT_S:
            raise UsageError(f"{self.refused}; choose another --name, or wait with --standby")

    def birth_due(self, now: float) -> bool:
        """Return True where the birth is to be published again, as it was refused."""
        if self._refused_since is None:
            return False
        if now - self._refused_at > GRANTED_AFTER_S:
            self._refused_since, self.refused = None, ""
            return False
        due = now - self._born_at >= REPEAT_BIRTH_S
        if due:
            self._born_at = now
        return due
