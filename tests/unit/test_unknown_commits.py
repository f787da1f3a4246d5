"""Transactions of which nobody knows whether they were committed: what they did is published."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, event, submission
from tests.support.databases import memory_store
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.timed_work import RETRY_DEFECT_US
from worker.fleet.messaging.bus import Message


class _Lost(Store):
    """Store in memory whose connection breaks after the commit, so many times."""

    losses = 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with super().transaction() as transaction:
            yield transaction
        if self.losses:
            self.losses -= 1
            raise StoreUnavailable("the connection broke after the commit")


@pytest.fixture
def lost() -> Iterator[_Lost]:
    with memory_store(_Lost) as opened:
        yield opened


def _ended(harness: ControlPlaneHarness) -> Message:
    worker, lease = harness.started()
    return worker.reports(lease, event("o-1", 1, "run:complete", reason="exception"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "prepare", [lambda _: submission("o"), _ended], ids=["an order", "the end of a run"]
)
@pytest.mark.parametrize("failing_ticks", [0, 1, 5])
def test_what_a_commit_of_unknown_outcome_did_is_published(
    lost: _Lost, prepare: Callable[[ControlPlaneHarness], Message], failing_ticks: int
) -> None:
    harness = ControlPlaneHarness(lost)
    message = prepare(harness)
    lost.losses = 1
    with pytest.raises(StoreUnavailable):
        harness.send(message)
    for _ in range(failing_ticks):
        harness.pass_time(3)
        lost.losses = 1
        with pytest.raises(StoreUnavailable):
            harness.tick()
    assert harness.send(message).kinds == []
    published = harness.tick()
    assert published.statuses == [harness.status()]
    assert len(published.alerts) == (harness.status() == "exception")
    assert harness.wait(3).statuses == [], "once"


def test_it_is_published_later_where_that_part_of_the_tick_has_a_defect(
    lost: _Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = ControlPlaneHarness(lost)
    lost.losses = 1
    with pytest.raises(StoreUnavailable):
        harness.send(submission("o"))
    with monkeypatch.context() as patch:
        patch.setattr(Transaction, "retained_runs", lambda *_: 1 / 0)
        assert harness.tick().statuses == []
    assert harness.wait(RETRY_DEFECT_US / 1e6 + 5).statuses == ["pending"]


@pytest.mark.parametrize("failing_ticks", [0, 1, 5])
def test_what_a_commit_of_unknown_outcome_did_is_published_by_the_next_process(
    lost: _Lost, failing_ticks: int
) -> None:
    harness = ControlPlaneHarness(lost)
    harness.wait(10)
    lost.losses = 1
    with pytest.raises(StoreUnavailable):
        harness.send(submission("o"))
    for _ in range(failing_ticks):
        harness.pass_time(3)
        lost.losses = 1
        with pytest.raises(StoreUnavailable):
            harness.tick()
    harness.processor.tick(harness.now)  # It is killed before it has published that.
    assert harness.restart().statuses == ["pending"]
