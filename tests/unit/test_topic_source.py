"""Sources of messages for triggers: their memory is bounded, and a broker gets no request twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Self

import aiomqtt
import pytest
from paho.mqtt.client import MQTTMessage

from tests.support.connection_log import ConnectionLog
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


async def test_all_parts_of_a_message_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topic_source, "MAX_WAITING_BYTES", 10_000)
    inbox = TopicInbox()
    inbox.put(message(1))
    for part in ({"reply_to": "r" * 10_000}, {"correlation": b"c" * 10_000}):
        inbox.put(message(0, **part))
    inbox.put(TopicMessage(topic="t" * 10_000, payload=b""))
    assert inbox.dropped == 3


async def test_large_messages_are_taken_in_small_batches() -> None:
    inbox = TopicInbox()
    for _ in range(6):
        inbox.put(message(MAX_BATCH_BYTES // 2 - 100, qos=1))
    inbox.put(message(2 * MAX_BATCH_BYTES, qos=1))
    assert [len(await inbox.take(0)) for _ in range(5)] == [2, 2, 2, 1, 0]


class Session:
    """A broker that sends what was not acknowledged at each connection, as one of MQTT does."""

    def __init__(self, contents: list[bytes]) -> None:
        self.unacknowledged = dict(enumerate(contents, 1))
        self.sent: set[int] = set()
        self.connections = 0
        self.broken = asyncio.Event()

    def client(self, *_: Any, **__: Any) -> SessionClient:
        self.connections += 1
        return SessionClient(self)

    def ack(self, packet: int, qos: int) -> None:
        self.unacknowledged.pop(packet, None)
        self.sent.discard(packet)


class SessionClient:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._client: Any = SimpleNamespace(manual_ack_set=lambda _: None, ack=session.ack)
        self.identifies_subscriptions = False

    async def __aenter__(self) -> Self:
        for packet, payload in self._session.unacknowledged.copy().items():
            message = MQTTMessage(packet, b"clinic/a")
            message.payload, message.qos = payload, 1
            message.dup = packet in self._session.sent
            self._session.sent.add(packet)
            self._client.on_message(None, None, message)
        return self

    async def __aexit__(self, *_: object) -> None: ...

    @property
    async def messages(self) -> AsyncIterator[Any]:
        await self._session.broken.wait()
        self._session.broken.clear()
        raise aiomqtt.MqttError("disconnected")
        yield


def source_of(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> tuple[MqttTopicSource, ConnectionLog]:
    """Return a source of a session, which reconnects at once, and its log."""
    monkeypatch.setattr(mqtt_topic_source, "backoff_s", lambda _: 0.0)
    monkeypatch.setattr(mqtt_topic_source, "BufferedClient", session.client)
    log: Any = ConnectionLog()
    return MqttTopicSource(parse_address("mqtt://localhost"), id="t", log=log), log


async def test_acknowledged_messages_over_the_bytes_that_may_wait_are_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five hundred of a hundred megabytes may be under way, and none of them is lost."""
    monkeypatch.setattr(topic_source, "MAX_WAITING_BYTES", 2500)
    monkeypatch.setattr(mqtt_topic_source, "backoff_s", lambda _: 3600.0)
    contents = [bytes([number]) * 1000 for number in range(7)]
    session = Session(contents)
    monkeypatch.setattr("worker.fleet.messaging.mqtt_topic_source.BufferedClient", session.client)
    log: Any = DiscardingLog()
    source = MqttTopicSource(parse_address("mqtt://localhost"), id="t", log=log)
    received: list[bytes] = []
    async with source, asyncio.timeout(30):
        while len(received) < len(contents):
            messages = await source.receive(1)
            assert sum(each.size_bytes for each in messages) <= 2500
            received += [each.payload for each in messages]
            # The order is stored while the connection is made anew.
            await asyncio.sleep(0)
            source.acknowledge(messages)
        while session.unacknowledged:
            await source.receive(0)
    assert received == contents
    assert session.connections == 4


async def test_a_message_like_one_that_was_sent_again_is_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first receipt is acknowledged after the second: nothing of it may be left."""
    session = Session([b"alarm"])
    source, log = source_of(session, monkeypatch)
    async with source, asyncio.timeout(30):
        await log.connected.acquire()
        first = await source.receive(1)
        session.broken.set()
        await log.connected.acquire()
        for messages in (first, await source.receive(0)):
            source.acknowledge(messages)
        assert not session.unacknowledged
        session.unacknowledged[1] = b"alarm"
        session.broken.set()
        await log.connected.acquire()
        assert [each.payload for each in await source.receive(0)] == [b"alarm"]


async def test_connections_that_do_not_last_are_made_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another fleet on the same topics takes the session over, again and again."""
    failures: list[int] = []

    def pause_s(failed: int) -> float:
        failures.append(failed)
        return 0.0

    monkeypatch.setattr(mqtt_topic_source, "backoff_s", pause_s)
    session = Session([])
    monkeypatch.setattr("worker.fleet.messaging.mqtt_topic_source.BufferedClient", session.client)
    log: Any = ConnectionLog()
    async with MqttTopicSource(parse_address("mqtt://localhost"), id="t", log=log):
        async with asyncio.timeout(30):
            await log.connected.acquire()
            for _ in range(4):
                session.broken.set()
                await log.connected.acquire()
    assert failures == [1, 2, 3, 4]


async def test_a_new_message_with_the_number_of_one_that_never_came_again_is_received(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker has dropped that one, as it had expired; devices repeat their contents."""
    session = Session([b"alarm"])
    source, log = source_of(session, monkeypatch)
    async with source, asyncio.timeout(30):
        await log.connected.acquire()
        expired = await source.receive(1)
        session.ack(1, 1)
        for contents in ({}, {1: b"alarm"}):
            session.unacknowledged = contents
            session.broken.set()
            await log.connected.acquire()
            source.acknowledge(expired)
        assert session.unacknowledged
        (message,) = await source.receive(0)
        source.acknowledge([message])
        assert not session.unacknowledged


class FakeBroker:
    """Clients that record what they request; each connection ends when the test breaks it."""

    identifies_subscriptions = True

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
        self.identifies_subscriptions = broker.identifies_subscriptions

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def subscribe(self, filter: str, *, properties: Any, **_: Any) -> tuple[int]:
        # To one that says it has none, an identifier is an error of the protocol.
        assert (properties is not None) is self.identifies_subscriptions
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


@pytest.mark.parametrize("identifies", [True, False])
async def test_a_past_topic_is_unsubscribed_once_a_connection(
    monkeypatch: pytest.MonkeyPatch, identifies: bool
) -> None:
    broker = FakeBroker()
    broker.identifies_subscriptions = identifies
    monkeypatch.setattr(mqtt_topic_source, "backoff_s", lambda _: 0.0)
    monkeypatch.setattr("worker.fleet.messaging.mqtt_topic_source.BufferedClient", broker.client)
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
