"""Publication of states whose publication may have been lost, and of the alerts that are open."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from worker.fleet.control.alerts import MAX_WAITING
from worker.fleet.control.checkpoint import CHECKPOINT_INTERVAL_US, Checkpoint
from worker.fleet.control.entities import RunRecord
from worker.fleet.control.republication import FIRST, STATES_PAGE, Place, Republication
from worker.fleet.control.timed_work import text_of
from worker.fleet.control.unit_of_work import UnitOfWork


class StatePublication:
    """Publishes states again, in pages, and moves the checkpoint behind which all are published."""

    def __init__(self) -> None:
        self.checkpoint = Checkpoint()
        self._republication = Republication()

    @property
    def next_place(self) -> Place | None:
        """The place after which states are to be published again; ``None`` where there are none."""
        return self._republication.after

    def request_all(self) -> None:
        """Publish all states again that a broker retains, in pages."""
        self._republication.request(FIRST)
        self.checkpoint.stay_behind(0)

    def collect(self, uow: UnitOfWork, since_us: int) -> None:
        """Publish the states that may have changed since a time, and the alerts that are open."""
        self.publish_since(uow, since_us)
        collect_alerts(uow)

    def publish_since(self, uow: UnitOfWork, since_us: int) -> None:
        """Publish the first states since a time; the others follow in pages."""
        # Earlier than that by what other control planes' clocks may differ.
        since_us = min(since_us, uow.now_us) - CHECKPOINT_INTERVAL_US
        if self.publish_page(uow, (since_us, "")):
            uow.outgoing.when_committed.append(lambda: self.checkpoint.stay_behind(since_us))

    def publish_page(self, uow: UnitOfWork, after: Place) -> bool:
        """Publish a page of the states that a broker retains. Return whether there are others."""
        horizon_us = uow.now_us - uow.settings.state_expiry_s * 1_000_000
        runs = uow.transaction.retained_runs(after, horizon_us, STATES_PAGE)
        _publish_states(uow, runs)
        end = (runs[-1].changed, runs[-1].id) if len(runs) >= STATES_PAGE else None
        published = functools.partial(self._republication.published, after, end)
        uow.outgoing.when_committed.append(published)
        return end is not None

    def advance(self, uow: UnitOfWork, echoed_us: int) -> None:
        """Move the checkpoint where it is due, and publish what planes that have ended left.

        The broker has received all that was published before ``echoed_us``.
        """
        after = self._republication.after
        since_us = self.checkpoint.advance(uow, None if after is None else after[0], echoed_us)
        if since_us is not None:
            self.collect(uow, since_us)


def collect_alerts(uow: UnitOfWork, channel: str = "") -> None:
    """Collect the oldest alerts that a channel has not delivered, or any channel."""
    # One more than can wait, so that the dispatcher knows of the others.
    for run, channels in uow.transaction.unnotified(MAX_WAITING + 1, channel):
        try:
            uow.alert(run)
        except Exception as error:
            uow.outgoing.defects[f"alert {run.id}"] = text_of(error)
        uow.outgoing.delivered[run.id] = channels


def _publish_states(uow: UnitOfWork, runs: Sequence[RunRecord]) -> None:
    uow.transaction.load_orders(run.order_id for run in runs)
    for run in runs:
        order = uow.transaction.order(run.order_id)
        # A control plane could never connect again for the one state that cannot be published.
        try:
            uow.publish_run_state(run)
            if order is not None and order.last_run == run.id:
                uow.publish_order_state(order)
        except Exception as error:
            uow.outgoing.defects[f"state {run.id}"] = text_of(error)
