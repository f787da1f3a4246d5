"""Sources of messages for triggers: their memory is bounded, and a broker gets no request twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

import pytest

from tests.support.dashboard_fleet import DiscardingLog
from worker.fleet.messaging import mqtt_topic_source, topic_source
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import MAX_BATCH_BYTES
from worker.fleet.messaging.mqtt_topic_source import MqttTopicSource
from worker.fleet.messaging.topic_source import Subscription, TopicInbox, TopicMessage


def message(size: int, qos: int = 0, **fields: Any) -> TopicMessage:
    return TopicMessage(topic="clinic/a", payload=b"x" * size, qos=qos, **fields)


async def test_messages_that_are_not_acknowledged_wait_within_a_number_of_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topic_source, "MAX_WAITING_BYTES", 1000)
    inbox = TopicInbox()
    inbox.put(message(5000))
    assert len(await inbox.take(0)) == 1, "an empty queue takes one of any size"
    for qos in (0, 1, 0, 0):
        inbox.put(message(400, qos))
    assert inbox.dropped == 2
    inbox.forget_unacknowledged()
    inbox.put(message(300, properties={"name": "y" * 400}))
    assert inbox.dropped == 3, "properties count too"
    inbox.put(message(300))
    assert [len(each.payload) for each in await inbox.take(0)] == [400, 300]
    inbox.put(message(1000))
    assert inbox.dropped == 3


async def test_large_messages_are_taken_in_small_batches() -> None:
    inbox = TopicInbox()
    for _ in range(6):
        inbox.put(message(MAX_BATCH_BYTES // 2, qos=1))
    inbox.put(message(2 * MAX_BATCH_BYTES, qos=1))
    assert [len(await inbox.take(0)) for _ in range(5)] == [2, 2, 2, 1, 0]


class FakeBroker:
    """Clients that record what they request; each connection ends when the test breaks it."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[str] = asyncio.Queue()
        self.broken = asyncio.Event()
        self.options: dict[str, Any] = {}

    def client(self, *_: Any, **options: Any) -> FakeClient:
        self.options = options
        return FakeClient(self)

    async def requested(self, count: int) -> list[str]:
        async with asyncio.timeout(30):
            return [await self.requests.get() for _ in range(count)]


class FakeClient:
    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._client = SimpleNamespace(manual_ack_set=lambda _: None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def subscribe(self, filter: str, **_: Any) -> tuple[int]:
        self._broker.requests.put_nowait(f"+{filter}")
        return (0,)

    async def unsubscribe(self, filter: str) -> None:
        self._broker.requests.put_nowait(f"-{filter}")

    @property
    async def messages(self) -> AsyncIterator[Any]:
        await self._broker.broken.wait()
        self._broker.broken.clear()
        for nothing in list[str]():
            yield nothing


async def test_a_past_topic_is_unsubscribed_once_a_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = FakeBroker()
    monkeypatch.setattr(mqtt_topic_source, "backoff_s", lambda _: 0.0)
    monkeypatch.setattr("aiomqtt.Client", broker.client)
    log: Any = DiscardingLog()
    address = parse_address("mqtt://localhost")
    source = MqttTopicSource(address, id="t", log=log, max_packet_bytes=50_000)
    wanted = {"new": Subscription()}
    source.subscribe(wanted, ["old"])
    async with source:
        assert await broker.requested(2) == ["-old", "+new"]
        assert broker.options["properties"].MaximumPacketSize == 50_000
        source.subscribe(wanted, ["old"])
        source.subscribe({**wanted, "next": Subscription()}, ["old"])
        assert await broker.requested(1) == ["+next"]
        source.subscribe({"old": Subscription()}, ["new", "next"])
        assert sorted(await broker.requested(3)) == ["+old", "-new", "-next"]
        source.subscribe(wanted, ["old", "next"])
        assert await broker.requested(2) == ["-old", "+new"]
        broker.broken.set()
        assert sorted(await broker.requested(3)) == ["+new", "-next", "-old"]
    assert broker.requests.empty()
