"""A broker that was restarted without its retained messages gets the states again."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from tests.support.control_plane_harness import (
    REGISTRY,
    TOPICS,
    ControlPlaneHarness,
    decode_outgoing,
)
from worker.fleet.client import Client
from worker.fleet.control import retained_check, service, state_publication
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.republication import MAX_UNSENT
from worker.fleet.control.retained_check import RetainedCheck
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker, LocalBus
from worker.sinks.log import stderr_logger


def test_a_broker_is_checked_after_each_reconnect() -> None:
    check = RetainedCheck()
    check.connected(0.0)
    assert not check.take_cause(9.0), "the checkpoint tells what the first connection publishes"
    check.connected(10.0)
    check.presence_retained()
    assert not check.take_cause(13.0), "it has retained what was published"
    check.connected(20.0)
    assert not check.take_cause(21.0) and check.take_cause(22.0)
    check.connected(30.0)
    check.connected(30.5)
    check.presence_retained()
    assert check.take_cause(30.6), "the presence is that of the connection before"


def test_states_are_collected_in_pages(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_publication, "STATES_PAGE", 2)
    harness.restart(settings=Settings(state_expiry_s=3600))
    harness.ended("old")
    harness.pass_time(4000)
    harness.ended("new")
    for number in range(3):
        harness.submit(f"waits-{number}")
    harness.processor.publish_all_again()
    orders: list[str] = []
    while harness.processor.has_unpublished:
        outgoing = harness.processor.next_states(harness.now)
        orders += [state.order_id for state in decode_outgoing(outgoing).orders]
    assert orders == ["new", "waits-0", "waits-1", "waits-2"], "the old one has expired"


async def test_the_states_come_back_after_a_restart_of_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retained_check, "CHECK_AFTER_S", 0.05)
    broker, store = LocalBroker(), Store("sqlite://")
    store.migrate()
    processor = MessageProcessor(store, topics=TOPICS, registry=REGISTRY)
    bus = broker.bus(*TOPICS.for_control())
    log = stderr_logger(logging.CRITICAL)
    plane = asyncio.create_task(ControlPlane(bus, processor, topics=TOPICS, log=log).run())
    listener = broker.bus("worker/v1/orders/+/state")
    async with Client(broker.bus(), TOPICS) as client, listener:
        order = await client.submit(workflow="flow", input={})
        bus.drop_connection()
        broker._retained.clear()
        bus.reconnect()
        states: list[str] = []
        async with asyncio.timeout(20):
            while len(states) < 2:
                states += [
                    arrival.topic for arrival in await listener.receive()
                    if isinstance(arrival, Message)
                ]  # fmt: skip
        assert set(states) == {TOPICS.order(order["order_id"])}
    plane.cancel()
    await asyncio.gather(plane, return_exceptions=True)
    store.close()


async def test_requests_are_answered_while_states_wait_for_room_at_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_publication, "STATES_PAGE", 2)
    monkeypatch.setattr(service, "PAGE_INTERVAL_S", 0.0)
    broker, store = LocalBroker(), Store("sqlite://")
    store.migrate()
    killed = ControlPlaneHarness(store)
    orders = [f"o{number}" for number in range(20)]
    for order in orders:
        killed.submit(order)
    unsent = [MAX_UNSENT + 1]
    monkeypatch.setattr(LocalBus, "waiting", property(lambda _: (0, unsent[0])))
    processor = MessageProcessor(store, topics=TOPICS, registry=REGISTRY)
    bus = broker.bus(*TOPICS.for_control())
    log = stderr_logger(logging.CRITICAL)
    listener = broker.bus("worker/v1/orders/+/state")
    async with Client(broker.bus(), TOPICS) as client, listener:
        plane = asyncio.create_task(ControlPlane(bus, processor, topics=TOPICS, log=log).run())
        assert (await client.summary())["orders"] == {"pending": 20}
        assert processor.has_unpublished
        unsent[0] = 0
        states: set[str] = set()
        async with asyncio.timeout(20):
            while len(states) < len(orders):
                arrivals = await listener.receive()
                states |= {each.topic for each in arrivals if isinstance(each, Message)}
        assert states == {TOPICS.order(order) for order in orders}
    plane.cancel()
    await asyncio.gather(plane, return_exceptions=True)
    store.close()
