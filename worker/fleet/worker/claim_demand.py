"""The claim of a worker: when it is sent, and for how many runs.

A claim without a response is repeated under the same id, so that the control plane assigns it the
same runs again.
"""

from __future__ import annotations

import math

from worker.fleet.messaging.worker_protocol import PROTOCOL, Assignment, Claim
from worker.util.machine_clock import random_hex

REPEAT_CLAIM_S = 2.0
GROWTH_S = 0.1
"""How long a pending claim may be for fewer runs than slots are free, but for over half of them."""
MAX_DEMAND = 1000


class ClaimDemand:
    """The claim that waits for a response, if there is one.

    Times are in seconds, by any monotonic clock.
    """

    def __init__(self, incarnation: str) -> None:
        self._incarnation = incarnation
        self._claim: Claim | None = None
        self._sent_at = -math.inf
        # Of the first transmission or the last repetition: a claim that grows again and again is
        # late too, and only a repetition is answered where the response was lost.
        self._awaited_since = -math.inf

    def due(self, free: int, now: float) -> Claim | None:
        """Return the claim to send now for ``free`` slots; ``None`` where none is due."""
        demand = min(free, MAX_DEMAND)
        if demand <= 0:
            return None
        if self._claim is None:
            return self._next(demand, now)
        # A pending claim is never reduced: the control plane may be answering it right now.
        demand = max(demand, self._claim.demand)
        if now - self._awaited_since > REPEAT_CLAIM_S:
            return self._next(demand, now, repeated=True)
        has_grown = self._has_grown(demand, self._claim.demand, now - self._sent_at)
        return self._next(demand, now) if has_grown else None

    @staticmethod
    def _has_grown(demand: int, claimed: int, waited_s: float) -> bool:
        # Not with each run that ends: each claim takes a message, and a transaction of one of the
        # control planes.
        return demand >= 2 * claimed or (demand > claimed and waited_s > GROWTH_S)

    def withdraw(self, now: float) -> Claim | None:
        """Return the claim that ends the demand; ``None`` where nothing is claimed."""
        return None if self._claim is None else self._next(0, now)

    def answer(self, assignment: Assignment) -> bool:
        """Handle a response; return whether it is one to the claim that waits for it."""
        is_expected = self._claim is not None and self._claim.claim_id == assignment.claim_id
        if is_expected:
            self._claim = None
        return is_expected

    def repeat(self) -> None:
        """Make the claim due, as its response may be lost."""
        self._awaited_since = -math.inf

    def _next(self, demand: int, now: float, *, repeated: bool = False) -> Claim:
        id = random_hex(16) if self._claim is None else self._claim.claim_id
        self._sent_at = now
        if repeated or self._claim is None:
            self._awaited_since = now
        self._claim = Claim(
            claim_id=id,
            demand=demand,
            incarnation=self._incarnation,
            protocol=PROTOCOL,
            repeated=repeated,
        )
        return self._claim
