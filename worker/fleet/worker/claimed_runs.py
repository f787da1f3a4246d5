"""Runs that are claimed and not started: whose start is due, and which go back. Pure.

A worker requests the start of a run when a slot is free, and executes the run only after the
response. An unanswered request is repeated with the same token, because the control plane may have
committed it. While runs are short, some more are claimed ahead, so that no slot waits for a claim.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.fleet.messaging.worker_protocol import AssignedRun, Attempt, Lease, Starts, concerns
from worker.fleet.worker.report_sender import AttemptKey

REPEAT_START_S = 2.0
MAX_HOLD_S = 1.0
"""How long a run waits here for a free slot before another worker may have it."""
_WEIGHT = 0.2
"""The weight of the newest value in a moving average."""


def attempt_key(attempt: Lease | Attempt) -> AttemptKey:
    return attempt.run_id, attempt.attempt


@dataclass(slots=True)
class _ClaimedRun:
    """A claimed run. It is not ``ready`` while its plan or input is fetched."""

    assigned: AssignedRun
    claimed_at: float
    ready: bool = True
    requested_at: float | None = None
    sent_at: float = 0.0


class ClaimedRuns:
    """The claimed runs of a worker with ``capacity`` slots, in the order of their assignment.

    Times are in seconds, by any monotonic clock.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._runs: dict[AttemptKey, _ClaimedRun] = {}
        self._round_trip_s = 0.0
        # Long at first: nothing is claimed ahead before it is known that runs are short.
        self._run_s = MAX_HOLD_S

    def __len__(self) -> int:
        return len(self._runs)

    def __contains__(self, key: AttemptKey) -> bool:
        return key in self._runs

    @property
    def leases(self) -> list[Lease]:
        return [run.assigned.lease for run in self._runs.values()]

    @property
    def requested(self) -> int:
        """The number of runs whose start is requested."""
        return sum(run.requested_at is not None for run in self._runs.values())

    @property
    def ahead(self) -> int:
        """How many runs to claim beyond the free slots: as many as end during a round trip."""
        return min(self._capacity, round(self._capacity * self._round_trip_s / self._run_s))

    def add(self, run: AssignedRun, now: float, *, ready: bool = True) -> None:
        """Add a run, or replace it by one that is ``ready``: with its plan and its input."""
        self._runs[attempt_key(run.lease)] = _ClaimedRun(run, now, ready)

    def drop(self, key: AttemptKey) -> None:
        self._runs.pop(key, None)

    def holds(self, attempt: Attempt) -> bool:
        """Return whether the run is here under the lease that a response is about."""
        run = self._runs.get(attempt_key(attempt))
        return run is not None and concerns(attempt, run.assigned.lease)

    def due(self, free: int, now: float, *, repeat: bool = False) -> list[Lease]:
        """Return the leases whose start to request now, for up to ``free`` further slots.

        Requests without a response in time are among them; with ``repeat`` all requests are.
        """
        leases = []
        for run in self._runs.values():
            if run.requested_at is None and free > 0 and run.ready:
                free -= 1
                run.requested_at = now
            elif run.requested_at is None or not (repeat or now - run.sent_at > REPEAT_START_S):
                continue
            run.sent_at = now
            leases.append(run.assigned.lease)
        return leases

    def answer(self, starts: Starts, now: float) -> list[AssignedRun]:
        """Handle a response to requests, and return the runs to execute."""
        for attempt in starts.refused:
            if self.holds(attempt):
                self.drop(attempt_key(attempt))
        held = [attempt for attempt in starts.started if self.holds(attempt)]
        runs = [self._runs.pop(attempt_key(attempt), None) for attempt in held]
        started = [run for run in runs if run is not None]
        for run in started:
            if run.requested_at is not None:
                self._round_trip_s = _moved(self._round_trip_s, now - run.requested_at)
        return [run.assigned for run in started]

    def ended(self, duration_s: float) -> None:
        """Record how long an executed run took."""
        self._run_s = max(0.001, _moved(self._run_s, duration_s))

    def hand_back(self, now: float, *, all: bool = False) -> list[Lease]:
        """Remove the runs that have waited too long, or ``all`` that wait; return their leases.

        A run whose start is requested stays: the control plane may have committed it.
        """
        waiting = [run for run in self._runs.values() if run.requested_at is None]
        late = [
            run.assigned.lease
            for run in waiting
            if all or (run.ready and now - run.claimed_at > MAX_HOLD_S)
        ]
        for lease in late:
            self.drop(attempt_key(lease))
        if late and not all:
            # The slots are taken by long runs that have not ended yet: claim none ahead.
            self._run_s = max(self._run_s, MAX_HOLD_S)
        return late


def _moved(average: float, value: float) -> float:
    return average + _WEIGHT * (value - average) if average else value
