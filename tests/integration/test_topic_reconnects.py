"""Messages of a real broker that are not acknowledged when the connection breaks."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import paho.mqtt.client as paho
import pytest

from tests.support.connection_log import ConnectionLog
from tests.support.fleets import needs_mosquitto
from tests.support.topic_lanes import SLOW, Filters, Host, serving, topic_trigger, until
from worker.fleet.messaging import mqtt_topic_source
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.mqtt_topic_source import MqttTopicSource
from worker.fleet.messaging.topic_source import Subscription, TopicMessage

pytestmark = needs_mosquitto

UNFILTERED = topic_trigger("unfiltered", "slow/#")


@pytest.fixture
def acknowledged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the packets that are acknowledged, in order."""
    packets: list[int] = []
    ack = paho.Client.ack

    def recorded(client: paho.Client, packet: int, qos: int) -> Any:
        packets.append(packet)
        return ack(client, packet, qos)

    monkeypatch.setattr(paho.Client, "ack", recorded)
    monkeypatch.setattr(mqtt_topic_source, "backoff_s", lambda _: 0.01)
    return packets


async def publish(broker: Broker, *topics: str) -> None:
    async with MqttBus(parse_address(broker.url)) as bus:
        await until(lambda: bus._client is not None)
        for topic in topics:
            await bus.confirm(Message(topic=topic, payload=b"1"))


async def reconnect(source: MqttTopicSource, log: ConnectionLog) -> None:
    assert source._client is not None
    connection: Any = source._client._client.socket()
    connection.shutdown(socket.SHUT_RDWR)
    await log.connected.acquire()


async def test_a_message_in_a_lane_makes_its_orders_once_over_reconnections(
    monkeypatch: pytest.MonkeyPatch, acknowledged: list[int]
) -> None:
    slow = Filters(monkeypatch)
    host, log = Host(SLOW, UNFILTERED), ConnectionLog()
    logs: Any = log
    async with asyncio.timeout(60):
        with Broker(kind="mosquitto") as broker:
            source: Any = MqttTopicSource(parse_address(broker.url), id="triggers", log=logs)
            async with serving(host, source):
                await log.connected.acquire()
                await publish(broker, "slow/a")
                await asyncio.to_thread(slow.began.wait, 60)
                for _ in range(2):
                    await reconnect(source, log)
                # The broker sends it after those that it sends again.
                await publish(broker, "slow/b")
                await until(lambda: host.made.count(("unfiltered", "order")) >= 2)
                assert not acknowledged
                slow.may_go_on.set()
                await until(lambda: len(acknowledged) == 2)
    assert sorted(host.made) == [("slow", "order")] * 2 + [("unfiltered", "order")] * 2


async def test_acknowledgements_leave_in_the_order_of_receipt(acknowledged: list[int]) -> None:
    log: Any = ConnectionLog()
    messages: list[TopicMessage] = []
    async with asyncio.timeout(60):
        with Broker(kind="mosquitto") as broker:
            address = parse_address(broker.url)
            async with MqttTopicSource(address, id="triggers", log=log) as source:
                source.subscribe({"#": Subscription(qos=1)})
                await log.connected.acquire()
                await publish(broker, "a", "b", "c", "d")
                while len(messages) < 4:
                    messages += await source.receive(1)
                packets = [message.packet[1] for message in messages]
                source.acknowledge(messages[:0:-2])
                assert acknowledged == []
                await reconnect(source, log)
                source.acknowledge(messages[2::-2])
                await until(lambda: len(acknowledged) == 4)
    assert acknowledged == packets
