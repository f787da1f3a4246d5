"""States that are published again: in pages, so that a start does not grow with the waiting runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, decode_outgoing
from tests.support.databases import memory_store
from worker.fleet.control import state_publication
from worker.fleet.control.republication import FIRST, Republication
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings

PAGE, ORDERS = 3, 10
ALL = [f"o{number}" for number in range(ORDERS)]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_publication, "STATES_PAGE", PAGE)


@pytest.fixture
def store() -> Iterator[Store]:
    with memory_store(Store) as opened:
        yield opened


@pytest.fixture
def backlog(store: Store) -> ControlPlaneHarness:
    """A control plane that is killed with waiting orders whose states it has not published."""
    harness = ControlPlaneHarness(store)
    harness.wait(5)
    for order in ALL:
        harness.submit(order)
    return harness


def _page(harness: ControlPlaneHarness) -> list[str]:
    outgoing = harness.processor.next_states(harness.now)
    return [state.order_id for state in decode_outgoing(outgoing).orders]


def _pages(harness: ControlPlaneHarness) -> list[str]:
    orders: list[str] = []
    while harness.processor.has_unpublished:
        orders += _page(harness)
    return orders


def test_a_connection_publishes_a_page_and_the_turns_after_it_the_others(
    backlog: ControlPlaneHarness,
) -> None:
    published = [state.order_id for state in backlog.restart().orders]
    assert len(published) == PAGE
    assert published + _pages(backlog) == ALL
    assert backlog.wait(60).statuses == [] and not backlog.processor.has_unpublished


def test_a_process_that_is_killed_between_pages_leaves_the_others_to_the_next(
    backlog: ControlPlaneHarness,
) -> None:
    published = {state.order_id for state in backlog.restart().orders}
    # The checkpoints of the process before are dropped meanwhile.
    backlog.wait(20)
    published.update(_page(backlog))
    backlog.wait(20)
    published.update(state.order_id for state in backlog.restart().orders)
    assert published.union(_pages(backlog)) == set(ALL)
    backlog.wait(10)
    assert backlog.restart().statuses == [], "no process is behind any more"


def test_a_broker_that_forgot_its_states_gets_them_although_the_process_is_killed(
    backlog: ControlPlaneHarness,
) -> None:
    backlog.wait(60)
    backlog.processor.publish_all_again()
    published = set(_page(backlog))
    backlog.wait(20)
    published.update(state.order_id for state in backlog.restart().orders)
    assert published.union(_pages(backlog)) == set(ALL)


def test_control_planes_beside_it_do_not_publish_the_same_states(store: Store) -> None:
    planes = [ControlPlaneHarness(store, settings=Settings(shared=True)) for _ in range(2)]
    for order in ALL:
        planes[0].submit(order)
    _work_together(planes)
    for plane in planes:
        _pages(plane)
    planes[0].processor.publish_all_again()
    assert _work_together(planes) == []
    assert not planes[1].processor.has_unpublished
    assert _pages(planes[0]) == ALL


def _work_together(planes: list[ControlPlaneHarness]) -> list[str]:
    statuses: list[str] = []
    for _ in range(30):
        for plane in planes:
            plane.now = max(each.now for each in planes)
            statuses += plane.wait(1).statuses
    return statuses


def test_an_earlier_place_that_is_requested_meanwhile_is_not_passed_over() -> None:
    republication = Republication()
    republication.request((5, "a"))
    republication.request((9, "a"))
    assert republication.after == (5, "a")
    republication.request(FIRST)
    republication.published((5, "a"), None)
    assert republication.after == FIRST
    republication.published(FIRST, (7, "b"))
    republication.published((8, "a"), None)
    assert republication.after == (7, "b"), "what is between is not published"
    republication.published((7, "b"), None)
    assert republication.after is None
