"""Attacks by who may publish a message: by its packet, before anything looks at the content."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.connection_log import ConnectionLog
from tests.support.fleets import needs_mosquitto
from worker.fleet.control.triggers.message_input import UnusableMessage, read_message
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.mqtt_topic_source import MqttTopicSource, _received
from worker.fleet.messaging.publish_packet import MAX_PROPERTIES_BYTES, decode_publish
from worker.fleet.messaging.topic_source import Subscription, TopicMessage
from worker.fleet.messaging.trigger_messages import MqttTrigger

QOS_1 = 0x32


def field(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def packet(properties: bytes, payload: bytes = b"1") -> bytes:
    """Return a message on ``a/b``, without the head of its packet."""
    size, length = bytearray(), len(properties)
    while length >= 0x80:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return field(b"a/b") + b"\0\x07" + bytes(size) + properties + payload


def user(name: bytes, value: bytes) -> bytes:
    return b"\x26" + field(name) + field(value)


def test_a_message_is_decoded_as_it_was_sent() -> None:
    sent: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    sent.UserProperty = [("a", "1"), ("a", "é"), ("", "")]
    sent.ContentType, sent.ResponseTopic, sent.CorrelationData = "text/plain", "r/é", b"\0\xff"
    sent.MessageExpiryInterval, sent.PayloadFormatIndicator = 70_000, 1
    body = field("a/é".encode()) + b"\0\x07" + _with_size(sent, b"\x0b\x80\x01\x0b\x05") + b"{}"
    message = decode_publish(QOS_1 | 0x09, bytearray(body))
    assert (message.topic, message.payload, message.mid) == ("a/é", b"{}", 7)
    assert (message.qos, message.retain, message.dup) == (1, True, True)
    received: Any = message.properties
    assert received.UserProperty == sent.UserProperty
    assert received.ContentType == "text/plain" and received.ResponseTopic == "r/é"
    assert received.CorrelationData == b"\0\xff" and received.MessageExpiryInterval == 70_000
    assert received.SubscriptionIdentifier == [128, 5]


def _with_size(properties: Any, more: bytes) -> bytes:
    packed = bytes(properties.pack())
    assert packed[0] < 0x70, "one byte has the size"
    return bytes([packed[0] + len(more)]) + packed[1:] + more


ODD = {
    "a mark of the order of bytes": user(b"\xef\xbb\xbf", b"\xef\xbb\xbf"),
    "a response topic with it": b"\x08" + field(b"r/\xef\xbb\xbf"),
    "half of a pair": user(b"a", b"\xed\xa0\x80"),
    "no text": b"\x03" + field(b"\xff\xfe") + user(b"\xff", b"\0"),
    "an odd number": b"\x01\x02",
    "two of one kind": b"\x03" + field(b"a") + b"\x03" + field(b"b"),
}


@pytest.mark.parametrize("properties", ODD.values(), ids=list(ODD))
def test_no_text_of_a_property_ends_a_connection(properties: bytes) -> None:
    """Sends what a broker lets through, and sends again on each connection that it ends."""
    message = decode_publish(QOS_1, packet(properties))
    assert (message.topic, message.payload, message.mid) == ("a/b", b"1", 7)


@pytest.mark.parametrize(
    "broken", [b"", b"\0", field(b"a"), packet(b"\x7e\0"), packet(b"\x08\xff\xff"), packet(b"\x26")]
)
def test_what_is_no_message_ends_the_connection(broken: bytes) -> None:
    with pytest.raises(MalformedPacket):
        decode_publish(QOS_1, broken)


def test_a_million_properties_take_no_memory_and_are_too_large() -> None:
    """Tries to hold up a control plane: a megabyte of properties took half a minute to decode."""
    pairs = user(b"k", b"v") * 150_000
    received: Any = decode_publish(QOS_1, packet(pairs)).properties
    assert len(received.UserProperty) < MAX_PROPERTIES_BYTES // 6
    message = _received(decode_publish(QOS_1, packet(pairs)), 1)
    with pytest.raises(UnusableMessage, match="properties of"):
        read_message(MqttTrigger(name="t", start="a", topic="a/#"), message)


@pytest.mark.parametrize("count", [15_000, 19_000])
def test_properties_of_one_name_count_all(count: int) -> None:
    """Tries to have an order without the topic of its reply, by what precedes it in the packet."""
    pairs = user(b"k", b"12345") * count + b"\x08" + field(b"r")
    message = _received(decode_publish(QOS_1, packet(pairs)), 1)
    with pytest.raises(UnusableMessage, match="properties of"):
        read_message(MqttTrigger(name="t", start="a", topic="a/#"), message)


def test_some_properties_of_one_name_are_one_and_its_reply_is_sent() -> None:
    pairs = user(b"k", b"1") * 9 + user(b"k", b"2") + b"\x08" + field(b"r")
    message = _received(decode_publish(QOS_1, packet(pairs)), 1)
    assert (message.properties, message.reply_to) == ({"k": "2"}, "r")
    assert message.dropped_properties_bytes == 18
    assert read_message(MqttTrigger(name="t", start="a", topic="a/#"), message) is not None


def test_small_properties_count_as_the_memory_that_they_take() -> None:
    """Tries to fill the memory of a control plane with messages that wait."""
    short = {f"{number:x}": "" for number in range(8000)}
    assert TopicMessage(topic="a", payload=b"", properties=short).size_bytes > 100 * len(short)


@needs_mosquitto
async def test_one_message_does_not_keep_the_others_of_all_topics_away() -> None:
    """Publishes a message whose property has U+FEFF, to a trigger and to the bus."""
    odd: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    odd.UserProperty = [("note", "\ufeff")]
    log: Any = ConnectionLog()
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        broker = stack.enter_context(Broker(kind="mosquitto"))
        address = parse_address(broker.url)
        source = MqttTopicSource(address, id="triggers", log=log)
        source.subscribe({"a/#": Subscription(qos=1)})
        await stack.enter_async_context(source)
        bus = await stack.enter_async_context(MqttBus(address, "a/#"))
        await log.connected.acquire()
        await bus.receive()
        publisher = await stack.enter_async_context(
            aiomqtt.Client(address.host, address.port, protocol=aiomqtt.ProtocolVersion.V5)
        )
        await publisher.publish("a/b", b"1", qos=1, properties=odd)
        await publisher.publish("a/b", b"2", qos=1)
        messages: list[TopicMessage] = []
        while len(messages) < 2:
            messages += await source.receive(1)
        assert [message.payload for message in messages] == [b"1", b"2"]
        assert messages[0].properties == {"note": "\ufeff"}
        arrivals: list[Any] = []
        while len(arrivals) < 2:
            arrivals += await bus.receive(1)
        assert [each.payload for each in arrivals if isinstance(each, Message)] == [b"1", b"2"]
