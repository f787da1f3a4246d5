"""States that a control plane committed and did not publish, as it was killed, are published."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.support.control_plane_harness import BEGAN, SECOND, ControlPlaneHarness
from tests.support.databases import memory_store
from worker.fleet.control.checkpoint import ABANDONED_US, CHECKPOINT_INTERVAL_US
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.unit_of_work import Settings

LEFT_S = (ABANDONED_US + 2 * CHECKPOINT_INTERVAL_US) / 1e6


@pytest.fixture
def store() -> Iterator[Store]:
    with memory_store(Store) as opened:
        yield opened


def _plane(store: Store) -> ControlPlaneHarness:
    """One of several control planes over a store, which has worked for a while."""
    plane = ControlPlaneHarness(store, settings=Settings(shared=True))
    plane.wait(5)
    return plane


def _killed_after_a_commit(store: Store) -> ControlPlaneHarness:
    plane = _plane(store)
    plane.submit("o")
    return plane


def test_another_control_plane_publishes_what_a_killed_one_has_not(store: Store) -> None:
    other = _plane(store)
    _killed_after_a_commit(store)
    published = other.wait(LEFT_S)
    assert published.statuses == ["pending"]
    assert [order.status for order in published.orders] == ["pending"]
    assert other.wait(LEFT_S).statuses == [], "once"


def test_its_next_process_publishes_them_although_others_went_on(store: Store) -> None:
    other = _plane(store)
    killed = _killed_after_a_commit(store)
    other.wait(ABANDONED_US / 1e6 - 4)
    killed.pass_time(5)
    assert killed.restart().statuses == ["pending"]


def test_the_one_that_took_them_over_may_end_too(store: Store) -> None:
    other = _plane(store)
    _killed_after_a_commit(store)
    published: list[str] = []
    while not published:
        # What this tick publishes is lost: it is killed after the commit.
        published = other.wait(0.9).statuses
    third = ControlPlaneHarness(store, connect=False, settings=Settings(shared=True))
    third.now = other.now
    assert third.connect().statuses == ["pending"]


def test_a_checkpoint_stays_before_what_the_broker_has_not_received(store: Store) -> None:
    plane = ControlPlaneHarness(store)
    plane.wait(5)
    received = plane.now
    plane.submit("o")
    # The connection is mute: the broker receives nothing, and returns no echo.
    for _ in range(20):
        plane.pass_time(0.9)
        plane.processor.tick(plane.now, echoed_us=received)
    assert plane.restart().statuses == ["pending"], "after a kill"


def test_a_checkpoint_goes_back_with_the_clock_and_not_forth_without_an_echo(store: Store) -> None:
    plane = ControlPlaneHarness(store)
    plane.wait(5)
    echoed = plane.now
    plane.pass_time(-60)
    plane.processor.tick(plane.now, echoed)
    plane.submit("o")
    for _ in range(20):
        plane.pass_time(0.9)
        plane.processor.tick(plane.now, echoed)
    assert plane.restart().statuses == ["pending"], "after a kill"


def test_what_one_commits_that_was_only_away_is_published(store: Store) -> None:
    other, away = _plane(store), _plane(store)
    # No tick of the one, as if its way to the database was cut: the other publishes for it.
    other.wait(ABANDONED_US / 1e6 + 1)
    away.now = other.now
    away.submit("o")
    # Killed before it has published that, and before a tick.
    assert set(other.wait(LEFT_S).statuses) == {"pending"}
    assert other.wait(LEFT_S).statuses == []


def test_what_one_commits_whose_checkpoint_was_dropped_is_published(store: Store) -> None:
    other, away = _plane(store), _plane(store)
    other.wait(2 * LEFT_S)
    away.now = other.now
    away.submit("o")
    assert set(other.wait(LEFT_S).statuses) == {"pending"}
    assert other.wait(LEFT_S).statuses == []


def test_control_planes_that_are_at_work_publish_nothing_of_each_other(store: Store) -> None:
    planes = [_plane(store), _plane(store)]
    planes[0].submit("o")
    for _ in range(20):
        for plane in planes:
            assert plane.wait(2).statuses == []


def test_checkpoints_of_earlier_processes_do_not_pile_up(store: Store) -> None:
    harness = ControlPlaneHarness(store)
    for _ in range(5):
        harness.wait(5)
        harness.restart()
    harness.wait(5)
    with store.transaction() as transaction:
        assert len(transaction.checkpoints()) == 1


def test_the_others_publish_what_one_has_left_once_each_and_then_nothing(store: Store) -> None:
    others = [_plane(store), _plane(store)]
    _killed_after_a_commit(store)
    published = [0, 0]
    for _ in range(40):
        for number, plane in enumerate(others):
            published[number] += len(plane.wait(1).statuses)
    assert sum(published) in (1, 2)
    with store.transaction() as transaction:
        assert len(transaction.checkpoints()) == 2


def test_one_that_joins_leaves_the_others_nothing_to_publish(store: Store) -> None:
    first = _plane(store)
    first.submit("o")
    first.wait(60)
    later = ControlPlaneHarness(store, connect=False, settings=Settings(shared=True))
    later.now = first.now
    later.connect()
    for _ in range(20):
        assert first.wait(1).statuses == later.wait(1).statuses == []


def test_what_the_first_commit_did_is_published_by_the_next_process(store: Store) -> None:
    killed = ControlPlaneHarness(store, connect=False)
    killed.connect()
    killed.submit("o")
    assert killed.restart().statuses == ["pending"]


class _Collision(Exception):
    sqlstate = "40P01"


class _Failing(Store):
    """Store in memory that rolls one transaction back: the first that reads changed states."""

    error: Exception | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with super().transaction() as transaction:
            retained_runs, read = transaction.retained_runs, list[int]()

            def note(after: Any, since: int, most: int) -> Any:
                read.append(since)
                return retained_runs(after, since, most)

            transaction.retained_runs = note  # type: ignore[method-assign]
            yield transaction
            error = self.error
            if read and error is not None:
                self.error = None
                raise error


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("statement", {}, _Collision()),
        StoreUnavailable("the connection broke before the commit"),
        ZeroDivisionError("a defect in a later part of the tick"),
    ],
    ids=["a conflict", "an outage", "a defect"],
)
def test_it_publishes_them_although_a_tick_was_rolled_back(error: Exception) -> None:
    with memory_store(_Failing) as store:
        other = _plane(store)
        _killed_after_a_commit(store)
        store.error = error
        end, published = other.now + LEFT_S * 1e6, list[str]()
        while other.now < end:
            with contextlib.suppress(StoreUnavailable):
                published += other.wait(0.9).statuses
        assert store.error is None
        assert published == ["pending"]


_Planes = tuple[ControlPlaneHarness, ControlPlaneHarness]


def _off_the_broker(store: Store, start_by: int) -> _Planes:
    """Two control planes; the first has dropped the second, which was away for so long."""
    other, plane = _plane(store), _plane(store)
    plane.submit("o", start_by=start_by)
    plane.disconnect()
    other.wait(LEFT_S)
    plane.wait(LEFT_S)
    return other, plane


def _not_connected_yet(store: Store, start_by: int) -> _Planes:
    """Two control planes; the first connection of the second comes late."""
    other = _plane(store)
    other.submit("o", start_by=start_by)
    plane = ControlPlaneHarness(store, connect=False, settings=Settings(shared=True))
    plane.now = other.now
    plane.tick()
    return other, plane


@pytest.mark.parametrize("without_broker", [_off_the_broker, _not_connected_yet])
@pytest.mark.parametrize("fails", [False, True], ids=["at once", "after a rollback"])
def test_what_is_committed_without_a_broker_is_published_by_whoever_has_one(
    without_broker: Callable[[Store, int], _Planes], fails: bool
) -> None:
    with memory_store(_Failing) as store:
        start_by = BEGAN + 100 * SECOND
        other, plane = without_broker(store, start_by)
        plane.now = start_by + SECOND
        # The broker does not get what this tick publishes.
        assert plane.tick().statuses == ["rejected"]
        other.now = plane.now
        published = other.wait(LEFT_S).statuses
        plane.now = other.now
        if fails:
            store.error = StoreUnavailable("the connection broke before the commit")
            with pytest.raises(StoreUnavailable):
                plane.connect()
        assert {*published, *plane.connect().statuses} == {"rejected"}
        with store.transaction() as transaction:
            assert len(transaction.checkpoints()) == 2
