"""A fleet without a control plane: workers and clients say once what they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane_harness import TOPICS
from tests.support.databases import memory_store
from tests.support.event_names import EventNames
from tests.support.topic_lanes import until
from worker.cli import connection as connections
from worker.fleet import request_channel
from worker.fleet.client import Client
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control_errors import NoAnswer
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.worker_protocol import Presence
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.plane_presence import GONE, NOTICE_S, PlanePresence

ONLINE = Presence(incarnation="1", online=True)
LATER = 2 * NOTICE_S


def test_an_absence_is_reported_once_and_not_at_once() -> None:
    plane = PlanePresence()
    assert not plane.take_absence(LATER), "not connected: the presence is unknown"
    plane.connect(0.0)
    assert not plane.take_absence(NOTICE_S / 2)
    assert plane.take_absence(LATER)
    assert not plane.take_absence(2 * LATER)


def test_a_control_plane_that_is_there_or_unknown_is_not_absent() -> None:
    plane = PlanePresence()
    plane.connect(0.0)
    assert plane.update(ONLINE, 0.1) and not plane.update(ONLINE, 0.2)
    assert not plane.take_absence(LATER)
    plane.update(GONE, LATER)
    plane.disconnect()
    assert not plane.take_absence(2 * LATER)
    plane.connect(2 * LATER)
    assert plane.take_absence(4 * LATER)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox")
    yield made
    made.close()


def test_a_cleared_presence_is_no_malformed_message(outbox: Outbox) -> None:
    log = EventNames()
    bus = LocalBroker().bus(*TOPICS.for_worker("w"))
    executor: Any = None
    made = FleetWorker(bus, executor, outbox, name="w", capacity=1, topics=TOPICS, log=log)
    for payload in (wire.encode(ONLINE), b""):
        made._on_arrival(Message(topic=TOPICS.control, payload=payload, retain=True))
    assert log.names == [] and made._control_plane.incarnation == ""


async def test_a_client_tells_once_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_channel, "NOTICE_S", 0)
    waits: list[None] = []
    bus = LocalBroker().bus()
    async with Client(bus, TOPICS, wait_s=0.05, on_wait=lambda: waits.append(None)) as client:
        results: list[Any] = await asyncio.gather(
            client.workers(), client.pauses(), return_exceptions=True
        )
    assert [type(result) for result in results] == [NoAnswer, NoAnswer]
    assert len(waits) == 1


def test_a_command_prints_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    address = parse_address("mqtt://127.0.0.1")
    connections.BrokerConnection(address=address, topics=TOPICS, reply_timeout_s=7)._print_wait()
    assert "waiting up to 7 s for a control plane on mqtt://127.0.0.1" in capsys.readouterr().err


async def test_a_control_plane_that_ends_leaves_the_presence_to_another() -> None:
    """Tries to have workers wait for a control plane while one of several is there."""
    broker = LocalBroker()
    watcher = broker.bus(TOPICS.control)

    async def next_presence() -> tuple[str, bool]:
        while True:
            for arrival in await watcher.receive(5):
                if isinstance(arrival, Message):
                    presence = wire.decode(Presence, arrival.payload)
                    return presence.incarnation, presence.online

    with memory_store(Store) as first, memory_store(Store) as second:
        async with asyncio.timeout(20), watcher:
            planes, processors = [], list[MessageProcessor]()

            def deferring() -> list[bool]:
                return [processor.defers_claims for processor in processors]

            for id, store in (("left", first), ("ended", second)):
                processors.append(MessageProcessor(store, topics=TOPICS))
                bus = broker.bus(*TOPICS.for_control(shared=True))
                plane = ControlPlane(bus, processors[-1], topics=TOPICS, log=EventNames(), id=id)
                planes.append(asyncio.create_task(plane.run()))
                assert await next_presence() == (id, True)
            # The last one answers claims at once, and the other one has them too.
            await until(lambda: deferring() == [True, False])
            planes[1].cancel()
            assert await next_presence() == ("ended", False)
            assert await next_presence() == ("left", True)
            await until(lambda: not deferring()[0])
            planes[0].cancel()
            assert await next_presence() == ("left", False)
            await asyncio.gather(*planes, return_exceptions=True)
