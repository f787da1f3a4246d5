"""Checkpoints: the times before which the broker has all that control planes committed.

A control plane can end between a commit and its publication. Its checkpoint is then the place from
which others publish again: the next one that starts, or one that works with the same database.
"""

from __future__ import annotations

from functools import partial

from worker.fleet.control.store.transaction import StoredCheckpoint
from worker.fleet.control.unit_of_work import UnitOfWork
from worker.util.machine_clock import random_hex

CHECKPOINT_INTERVAL_US = 2_000_000
ABANDONED_US = 10_000_000
"""A checkpoint that was not moved for this long is that of a control plane that has ended."""


class Checkpoint:
    """The checkpoint of this control plane."""

    def __init__(self) -> None:
        self._id = random_hex(8)
        self._last_us = 0
        # Those of others since which this one has published, as they were.
        self._covered: dict[str, int] = {}
        # The time of the first states that waited to be published again an interval ago.
        self._behind_us: int | None = None
        self._is_behind = False

    def start(self, now_us: int) -> None:
        """Set the time of the first transaction, where it is not set yet."""
        self._last_us = self._last_us or now_us

    def begin(self, uow: UnitOfWork) -> int:
        """Return the time since when states may be unpublished."""
        stored = uow.transaction.checkpoints()
        # Deadlines and schedules are committed without a broker too, from the start on. And others
        # drop the checkpoint of one that was away for long, before it has published.
        own = stored.get(self._id, StoredCheckpoint(min(self._last_us, uow.now_us)))
        # This process may be killed before its first interval ends.
        uow.transaction.put_checkpoint(self._id, own.time_us)
        # An attempt that is rolled back has published nothing.
        covered = {id: each.time_us for id, each in stored.items()}
        uow.outgoing.when_committed.append(partial(self._set, uow.now_us, covered))
        return min(each.since_us for each in (*stored.values(), own))

    def stay_behind(self, since_us: int) -> None:
        """Record that states since a time wait to be published again."""
        self._behind_us = _earliest(self._behind_us, since_us)

    def keep(self, uow: UnitOfWork) -> None:
        """Store the checkpoint anew where others have dropped it, as this one was away for long.

        They have published all that was committed before, and publish what this commits.
        """
        if uow.now_us - self._last_us > ABANDONED_US // 2:
            uow.transaction.keep_checkpoint(self._id, uow.now_us)

    def is_due(self, now_us: int) -> bool:
        # A clock that was set back must not stop the checkpoints until it has caught up.
        return not 0 <= now_us - self._last_us <= CHECKPOINT_INTERVAL_US

    def advance(self, uow: UnitOfWork, behind_us: int | None, received_us: int) -> int | None:
        """Move the checkpoint where it is due; states since ``behind_us`` are not published yet.

        The broker has received all that was published before ``received_us``; 0 where that is not
        known. Return the time since when a control plane that has ended may have left states
        unpublished.
        """
        if not self.is_due(uow.now_us):
            return None
        self._store_behind(uow, behind_us)
        uow.outgoing.echo_us = uow.now_us
        if received_us:
            uow.transaction.put_checkpoint(self._id, received_us)
        abandoned = self._abandoned(uow)
        # Deleted an interval after that was published: should this process end meanwhile, the next
        # one publishes it. A checkpoint of its own that went back would look abandoned to others.
        covered = [
            id for id, stored in abandoned.items() if self._covered.get(id) == stored.time_us
        ]
        left = {id: stored for id, stored in abandoned.items() if id not in covered}
        since_us = [stored.since_us for stored in left.values()]
        if covered:
            uow.transaction.drop_checkpoints(covered)
            # One that was only away from the database may have committed since, and ended then.
            since_us += [self._last_us] if uow.settings.shared else []
        # What an attempt that is rolled back has read is not published.
        times = {id: stored.time_us for id, stored in left.items()}
        uow.outgoing.when_committed.append(partial(self._set, uow.now_us, times))
        return min(since_us, default=None)

    def _store_behind(self, uow: UnitOfWork, behind_us: int | None) -> None:
        # By an interval earlier, as the checkpoint is. And apart from it: it would look abandoned.
        first_us = _earliest(self._behind_us, behind_us)
        if first_us is not None:
            uow.transaction.put_behind(self._id, first_us)
        elif self._is_behind:
            uow.transaction.drop_behind(self._id)

        def set_behind() -> None:
            self._behind_us, self._is_behind = behind_us, first_us is not None

        uow.outgoing.when_committed.append(set_behind)

    def _set(self, last_us: int, covered: dict[str, int]) -> None:
        self._last_us, self._covered = last_us, covered

    def _abandoned(self, uow: UnitOfWork) -> dict[str, StoredCheckpoint]:
        before_us = uow.now_us - ABANDONED_US
        return {
            id: stored
            for id, stored in uow.transaction.checkpoints().items()
            if id != self._id and (stored.time_us < before_us or not uow.settings.shared)
        }


def _earliest(*times: int | None) -> int | None:
    return min((time for time in times if time is not None), default=None)
