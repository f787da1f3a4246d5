"""Packets of messages (MQTT 5): encoded, and decoded in time in proportion to their size. Pure.

Paho's decoder copies the rest of the packet after each property, and ends the connection for what
brokers let through: U+FEFF in a text, which MQTT allows, or an odd number. The broker sends such a
message again on the next connection, so one of it would keep all others away. Its encoder, with the
objects around it, took a tenth of the time of a fleet.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.exception import MalformedPacket

from worker.fleet.messaging.bus import Message, problem_of
from worker.fleet.messaging.packets import MAX_PACKET_BYTES

MAX_PROPERTIES_BYTES: Final = 128 * 1024
"""The properties of a message that are decoded: a short one takes some hundred bytes of memory."""


class _PacketReader:
    """Reads the fields of a packet. Raises :class:`MalformedPacket` at its end."""

    def __init__(self, packet: bytes, position: int = 0) -> None:
        self._packet = packet
        self.position = position

    def bytes_of(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > len(self._packet):
            raise MalformedPacket("a field is longer than its packet")
        return self._packet[start : self.position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.bytes_of(size), "big")

    def varying_number(self) -> int:
        value = 0
        for shift in range(0, 28, 7):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise MalformedPacket("a number of more than four bytes")

    def binary(self) -> bytes:
        return self.bytes_of(self.number(2))

    def text(self) -> str:
        return self.binary().decode("utf-8", "replace")

    def pair(self) -> tuple[str, str]:
        return self.text(), self.text()


_USER_PROPERTY, _SUBSCRIPTION = 0x26, 0x0B
_SINGLE: Final[dict[int, tuple[str, Callable[[_PacketReader], Any]]]] = {
    0x02: ("MessageExpiryInterval", lambda reader: reader.number(4)),
    0x03: ("ContentType", _PacketReader.text),
    0x08: ("ResponseTopic", _PacketReader.text),
    0x09: ("CorrelationData", _PacketReader.binary),
}
# The sizes of what is not needed: whether the payload is a text, and aliases, which need consent.
_IGNORED: Final = {0x01: 1, 0x23: 2}


def decode_publish(command: int, packet: bytes | bytearray) -> MQTTMessage:
    """Decode a message; ``command`` is the first byte of its packet, ``packet`` what follows.

    Properties beyond ``MAX_PROPERTIES_BYTES`` are not decoded: a user property without a name, as
    long as all of them, stands for them, so that readers refuse the message for its size. Raises
    :class:`MalformedPacket`.
    """
    content = bytes(packet)
    reader = _PacketReader(content)
    topic = reader.binary()
    qos = (command >> 1) & 3
    message = MQTTMessage(mid=reader.number(2) if qos else 0, topic=topic)
    message.qos, message.retain, message.dup = qos, bool(command & 1), bool(command & 8)
    size = reader.varying_number()
    if size:
        properties: Any = _properties(_PacketReader(reader.bytes_of(size)), size)
        message.properties = properties
    message.payload = content[reader.position :]
    return message


def _properties(reader: _PacketReader, size: int) -> SimpleNamespace:
    """Decode the properties. Not into paho's object, which takes longer than all else here."""
    properties = SimpleNamespace()
    user: list[tuple[str, str]] = []
    subscriptions: list[int] = []
    while reader.position < size:
        if reader.position > MAX_PROPERTIES_BYTES:
            user.append(("", " " * size))
            break
        identifier = reader.varying_number()
        if identifier == _USER_PROPERTY:
            user.append(reader.pair())
        elif identifier == _SUBSCRIPTION:
            subscriptions.append(reader.varying_number())
        elif identifier in _IGNORED:
            reader.bytes_of(_IGNORED[identifier])
        elif identifier in _SINGLE:
            name, read = _SINGLE[identifier]
            setattr(properties, name, read(reader))
        else:
            raise MalformedPacket(f"unknown property {identifier}")
    if user:
        properties.UserProperty = user
    if subscriptions:
        properties.SubscriptionIdentifier = subscriptions
    return properties


PUBLISH: Final = 0x30
MAX_FIELD_BYTES: Final = 0xFFFF


def encode_publish(message: Message, id: int | None = None) -> tuple[int, bytearray]:
    """Encode a message; one with an ``id`` is to be acknowledged (QoS 1).

    Return the first byte of the packet, and the packet. Raises :class:`ValueError` for what MQTT
    has no form for.
    """
    if problem := problem_of(message, MAX_PACKET_BYTES):
        raise ValueError(f"cannot publish {problem}")
    command = PUBLISH | (0 if id is None else 2) | message.retain
    head = _field(message.topic.encode())
    if id is not None:
        head += id.to_bytes(2, "big")
    properties = _encoded_properties(message)
    head += _varying_number(len(properties)) + properties
    packet = bytearray((command,))
    packet += _varying_number(len(head) + len(message.payload))
    packet += head
    packet += message.payload
    return command, packet


def _encoded_properties(message: Message) -> bytes:
    parts = []
    if message.reply_to:
        parts += [b"\x08", _field(message.reply_to.encode())]
    if message.correlation:
        parts += [b"\x09", _field(message.correlation)]
    if message.expiry_s:
        parts += [b"\x02", message.expiry_s.to_bytes(4, "big")]
    if message.content_type != "application/json":
        parts += [b"\x03", _field(message.content_type.encode())]
    for name, value in message.properties:
        parts += [b"\x26", _field(name.encode()), _field(value.encode())]
    return b"".join(parts)


def _field(data: bytes) -> bytes:
    if len(data) > MAX_FIELD_BYTES:
        raise ValueError(f"a field of {len(data):,} bytes, and the most is {MAX_FIELD_BYTES:,}")
    return len(data).to_bytes(2, "big") + data


def _varying_number(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
