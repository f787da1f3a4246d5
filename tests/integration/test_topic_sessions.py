"""Sessions of the source of trigger messages, over a broker that forgets them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiomqtt

from tests.support.connection_log import ConnectionLog
from tests.support.fleets import needs_mosquitto
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.mqtt_topic_source import MqttTopicSource
from worker.fleet.messaging.topic_source import Subscription, TopicMessage, identifier_of

pytestmark = needs_mosquitto


async def publish(broker: Broker) -> None:
    """Publish a message that is the same each time."""
    async with MqttBus(parse_address(broker.url)) as bus:
        while True:
            with contextlib.suppress(ConnectionError):
                return await bus.confirm(Message(topic="alarms/a", payload=b'{"alarm": 1}'))
            await asyncio.sleep(0.02)


async def received(source: MqttTopicSource) -> TopicMessage:
    (message,) = await all_received(source, 1)
    return message


async def all_received(source: MqttTopicSource, count: int) -> list[TopicMessage]:
    messages: list[TopicMessage] = []
    while len(messages) < count:
        messages += await source.receive(1)
    return messages


async def test_overlapping_subscriptions_have_messages_of_their_own() -> None:
    """Also those that were sent for the control plane before: its session is queued for the next."""
    overlapping = {"alarms/+": Subscription(), "alarms/#": Subscription()}
    ids = {frozenset([identifier_of(filter)]) for filter in overlapping}
    async with asyncio.timeout(60):
        with Broker(kind="mosquitto") as broker:
            for waiting in (0, 2):
                log: Any = ConnectionLog()
                source = MqttTopicSource(parse_address(broker.url), id="triggers", log=log)
                source.subscribe(overlapping)
                async with source:
                    await log.connected.acquire()
                    messages = await all_received(source, waiting)
                await publish(broker)
            assert {each.subscriptions for each in messages} == ids


async def test_a_message_of_the_highest_quality_is_sent_again_until_it_is_an_order() -> None:
    async with asyncio.timeout(60):
        with Broker(kind="mosquitto") as broker:
            address = parse_address(broker.url)
            async with aiomqtt.Client(address.host, address.port) as publisher:
                for repeated in (False, True):
                    log: Any = ConnectionLog()
                    source = MqttTopicSource(address, id="triggers", log=log)
                    source.subscribe({"alarms/+": Subscription(qos=2)})
                    async with source:
                        await log.connected.acquire()
                        if not repeated:
                            await publisher.publish("alarms/a", b"1", qos=2)
                        assert (await received(source)).payload == b"1"


async def test_a_message_like_one_of_a_forgotten_session_is_no_repetition() -> None:
    """The numbers of packets begin anew with the session, and devices repeat their contents."""
    log: Any = ConnectionLog()
    async with asyncio.timeout(60):
        with Broker(kind="mosquitto") as broker:
            address = parse_address(broker.url)
            async with MqttTopicSource(address, id="triggers", log=log) as source:
                source.subscribe({"alarms/+": Subscription(qos=1)})
                await log.connected.acquire()
                await publish(broker)
                first = await received(source)
                broker.kill()
                while source._client is not None:
                    await asyncio.sleep(0.01)
                # Its order was stored while the connection broke.
                source.acknowledge([first])
                broker.start()
                await log.connected.acquire()
                await publish(broker)
                second = await received(source)
                assert (second.payload, second.packet[1]) == (first.payload, first.packet[1])
