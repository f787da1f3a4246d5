"""Housekeeping: what is old is deleted, a part at a time, once a minute."""

from __future__ import annotations

from worker.fleet.control.retention import (
    delete_ended_orders,
    delete_old_actions,
    delete_silent_workers,
)
from worker.fleet.control.triggers.cron import delete_old_ticks
from worker.fleet.control.triggers.dead_letters import delete_old_dead_letters
from worker.fleet.control.triggers.firing import delete_expired_keys
from worker.fleet.control.unit_of_work import UnitOfWork
from worker.fleet.control.uploads import forget_chunks

RETENTION_INTERVAL_US = 60_000_000
SILENT_WORKER_US = 30 * 86_400_000_000
"""How long a silent worker is listed: many have the name of a machine that is gone."""


class Housekeeping:
    """When each part was done last. ``frees_pages`` is set where a deletion left free pages."""

    def __init__(self) -> None:
        self.frees_pages = False
        self._last_retention_us = 0
        self._last_cleaning_us = 0

    def is_due(self, now_us: int) -> bool:
        return _is_due(self._last_retention_us, now_us) or _is_due(self._last_cleaning_us, now_us)

    def apply_retention(self, uow: UnitOfWork) -> None:
        """Delete orders that ended before the retention began."""
        retain_us = int(uow.settings.retain_s * 1e6)
        if not _is_due(self._last_retention_us, uow.now_us):
            return
        forget_chunks(uow)
        _forget_workers(uow)
        self.frees_pages = True
        # Until nothing is left, each tick deletes a part: one large transaction would block.
        before = uow.now_us - retain_us
        if retain_us and (
            _forget_orders(uow, before) or delete_old_actions(uow.transaction, before)
        ):
            return
        self._last_retention_us = uow.now_us

    def clean_up_triggers(self, uow: UnitOfWork) -> None:
        """Delete idempotency keys, ticks and dead letters that are too old."""
        if not _is_due(self._last_cleaning_us, uow.now_us):
            return
        self._last_cleaning_us = uow.now_us
        delete_expired_keys(uow)
        delete_old_ticks(uow)
        delete_old_dead_letters(uow.transaction)


def _forget_orders(uow: UnitOfWork, before: int) -> int:
    """Delete orders that ended before a time, with what brokers retain; return the number."""
    deleted = delete_ended_orders(uow.transaction, before)
    # Else these states have expired before.
    if uow.settings.retain_s < uow.settings.state_expiry_s:
        for order_id in deleted.orders:
            uow.clear_retained(uow.topics.order(order_id))
        for run_id in deleted.runs:
            uow.clear_retained(uow.topics.run(run_id, "state"))
    return len(deleted.orders)


def _forget_workers(uow: UnitOfWork) -> None:
    """Delete workers that are gone, with the presences that brokers retain."""
    for worker in delete_silent_workers(uow.transaction, uow.now_us - SILENT_WORKER_US):
        uow.contacts.pop(worker, None)
        uow.answered_claims.pop(worker, None)
        uow.clear_retained(uow.topics.worker(worker, "status"))


def _is_due(last_us: int, now_us: int) -> bool:
    # Also where the clock was set back since.
    return not 0 <= now_us - last_us <= RETENTION_INTERVAL_US
