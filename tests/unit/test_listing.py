"""Lists and counts: in parts of a bounded number of rows, which together are all that match."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.support.control_plane_harness import (
    REGISTRY,
    TOPICS,
    ControlPlaneHarness,
    decode_outgoing,
    request,
    submission,
)
from tests.support.databases import memory_store
from worker.fleet.client import Client
from worker.fleet.control import query_budget
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store import listing
from worker.fleet.control.store.store import Store
from worker.fleet.messaging.client_messages import OrderQuery, RunQuery
from worker.fleet.messaging.in_memory import LocalBroker
from worker.sinks.log import stderr_logger

PART = 3
COUNT = 10
QUERIES: list[dict[str, Any]] = [
    {},
    {"limit": 2},
    {"search": "order-1"},
    {"search": "ORDER-7"},
    {"search": "nothing"},
    {"tag": "odd"},
    {"tag": "odd", "limit": 2},
    {"tag": "odd", "project": "p1"},
    {"project": "p1", "status": "pending"},
    {"project": "p1", "status": "cancelled"},
    {"status": "pending", "workflow": "flow", "search": "order"},
    {"workflow": "flow", "tag": "odd", "limit": 1},
]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PART_ROWS", PART)


def _fill(harness: ControlPlaneHarness) -> None:
    for number in range(COUNT):
        # Each batch is a microsecond later: two by two, orders have the same time.
        harness.now -= 1 - number % 2
        tags = ["odd"] if number % 2 else []
        harness.submit(f"order-{number}", project=f"p{number % 3}", tags=tags)
    harness.call("cancel", id="order-4")


def _parts(harness: ControlPlaneHarness, method: str, query: dict[str, Any]) -> list[Any]:
    """Request all parts, and return them."""
    parts: list[Any] = []
    place: dict[str, Any] | None = {}
    left = query.get("limit", 50)
    while place is not None:
        part = harness.call(method, **{**query, "limit": left}, partial=True, **place)
        parts.append(part["items"])
        left -= len(part["items"])
        place = part["next"]
    return parts


@pytest.mark.parametrize("query", QUERIES, ids=str)
@pytest.mark.parametrize("method", ["orders", "runs"])
def test_the_parts_of_a_list_are_all_that_match(
    harness: ControlPlaneHarness, method: str, query: dict[str, Any]
) -> None:
    _fill(harness)
    parts = _parts(harness, method, query)
    at_once = harness.call(method, **query)
    assert [row for part in parts for row in part] == at_once
    assert [row["order_id"] for row in at_once] == _matching(method, query)
    assert all(len(part) <= PART for part in parts) or parts == [at_once]


def _matching(method: str, query: dict[str, Any]) -> list[str]:
    """Return the ids of the orders that match, without a database."""
    ids: list[tuple[int, str]] = []
    for number in range(COUNT):
        tag = "odd" if number % 2 else ""
        fields = {
            "project": f"p{number % 3}",
            "workflow": "flow",
            "status": "cancelled" if number == 4 else "pending",
            "tag": tag,
        }
        texts = f"order-{number} flow" + f" {tag}" * (method == "orders")
        matches = all(fields[name] == query[name] for name in fields.keys() & query.keys())
        if matches and query.get("search", "").lower() in texts:
            # Newest first, and of those of one time that with the first id.
            ids.append((-((number + 1) // 2), f"order-{number}"))
    return [id for _, id in sorted(ids)][: query.get("limit", 50)]


def test_what_no_index_finds_is_looked_for_in_a_part_of_the_rows(
    harness: ControlPlaneHarness,
) -> None:
    _fill(harness)
    reply = harness.call("orders", search="order-0", partial=True)
    newest = harness.call("orders", limit=PART)
    assert reply["items"] == []
    last = newest[-1]
    assert reply["next"] == {"before": last["created"], "beyond": last["order_id"]}
    counted = harness.call("count", search="order-0", partial=True)
    assert counted == {"matching": 0, "next": reply["next"]}


def test_a_change_of_many_goes_on_where_a_part_has_none_that_match(
    harness: ControlPlaneHarness,
) -> None:
    _fill(harness)
    changed = 0
    place: dict[str, Any] | None = {}
    while place is not None:
        step = harness.call("bulk", action="cancel", batch="b", search="order-9", **place)
        changed, place = changed + step["changed"], step["next"]
    assert changed == 1
    assert harness.status("order-9") == "cancelled"


@pytest.mark.parametrize(
    ("method", "fields"), [("orders", {}), ("runs", {}), ("count", {}), ("bulk", {"dry_run": True})]
)
def test_a_request_without_parts_looks_through_a_bounded_number_of_rows(
    harness: ControlPlaneHarness,
    method: str,
    fields: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error, as a part of the rows would look like all of them to an earlier client."""
    _fill(harness)
    query = {"search": "order-0", **fields}
    if method == "bulk":
        query |= {"action": "cancel", "batch": "b"}
    harness.call(method, **query)
    monkeypatch.setattr(listing, "PART_ROWS", 2)
    failure = harness.failure(method, **query)
    assert failure.code == "too_large"
    assert "rows to look through: narrow the query" in failure.message


def test_searches_take_a_share_of_a_batch_and_the_others_wait_for_the_next(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to have one sender's searches delay another's orders."""
    _fill(harness)
    monkeypatch.setattr(query_budget, "MAX_COST", 2 * PART)
    searches = [request("orders", search="nothing", partial=True) for _ in range(5)]
    outgoing = harness.processor.process([*searches, submission("after")], harness.now)
    submitted, *answered = decode_outgoing(outgoing).replies
    assert submitted.error is None and b'"after"' in bytes(submitted.ok)
    assert (len(answered), outgoing.postponed) == (2, searches[2:])
    rest = harness.processor.process(outgoing.postponed, harness.now)
    assert (len(rest.messages), rest.postponed) == (2, searches[4:])


def test_large_replies_count_as_rows(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to fill the memory with the replies of one batch."""
    harness.submit("large", input={"data": "x" * 20_000})
    monkeypatch.setattr(query_budget, "MAX_COST", 30)
    outgoing = harness.processor.process([request("input", id="large")] * 5, harness.now)
    assert (len(outgoing.messages), len(outgoing.postponed)) == (2, 3)


def test_queries_that_wait_are_bounded(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_budget, "MAX_COST", 1)
    monkeypatch.setattr(query_budget, "MAX_WAITING_BYTES", 3_500)
    outgoing = harness.processor.process([request("orders")] * 9, harness.now)
    assert (len(outgoing.messages), len(outgoing.postponed)) == (1, 3)
    assert [refusal.kind for refusal in outgoing.refusals] == ["busy"] * 5


def test_a_query_that_is_sent_again_while_it_waits_waits_once(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to overload the control plane by clients that wait for over two seconds."""
    monkeypatch.setattr(query_budget, "MAX_COST", 1)
    queries = [
        replace(request("orders"), correlation=correlation, expiry_s=expiry_s)
        for expiry_s in (30, 28)
        for correlation in (b"1", b"2", b"3")
    ]
    others = [
        replace(request("orders", limit=2), correlation=b"2"),
        request("orders"),
        request("orders"),
    ]
    outgoing = harness.processor.process([*queries, *others], harness.now)
    # The first has its reply; its repetition waits, as do all others once.
    assert outgoing.postponed == [*queries[1:4], *others]
    assert outgoing.refusals == []


async def test_a_client_asks_for_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each search takes the share of a batch.
    monkeypatch.setattr(query_budget, "MAX_COST", PART)
    broker = LocalBroker()
    with memory_store(Store) as store:
        _fill(ControlPlaneHarness(store))
        processor = MessageProcessor(store, topics=TOPICS, registry=REGISTRY)
        log = stderr_logger(logging.CRITICAL)
        bus = broker.bus(*TOPICS.for_control())
        plane = asyncio.create_task(ControlPlane(bus, processor, topics=TOPICS, log=log).run())
        async with asyncio.timeout(20), Client(broker.bus(), TOPICS) as client:
            orders = await client.orders(OrderQuery(search="order-0"))
            assert [order["order_id"] for order in orders] == ["order-0"]
            searches = [client.orders(OrderQuery(search="order-0")) for _ in range(20)]
            assert await asyncio.gather(*searches) == [orders] * 20
            assert len(await client.orders(OrderQuery(tag="odd", limit=4))) == 4
            assert len(await client.runs(RunQuery(tag="odd"))) == 5
            assert await client.count(OrderQuery(search="order", before=1, limit=2)) == COUNT
            assert await client.count(RunQuery(search="order"), at_most=5) == 5
            assert await client.count_matching("cancel", OrderQuery(tag="odd")) == 5
            steps = [step async for step in client.change_all("cancel", OrderQuery(tag="odd"))]
            assert sum(step["changed"] for step in steps) == 5
        plane.cancel()
        await asyncio.gather(plane, return_exceptions=True)
