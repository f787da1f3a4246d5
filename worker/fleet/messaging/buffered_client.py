"""A client of MQTT that reads from its socket, and writes to it, in large parts.

It decodes the messages that it receives by itself, as anybody may have sent them.

Paho reads each packet in three calls or more, and writes each in one. A call of the system releases
the interpreter's lock, and with a busy thread beside it, such as the processor of a control plane,
this one waits for the lock after each.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Self

import aiomqtt
from paho.mqtt.client import CONNACK_ACCEPTED
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from worker.fleet.messaging.publish_packet import decode_publish

READ_BYTES = 64 * 1024
WRITE_BYTES = 64 * 1024
"""The most that is written at once. Of larger packets paho copies the rest with each write."""
_PUBLISH, _PUBACK = 0x30, 0x40
# The usual ones: success, and no subscriber, as most often nobody follows a single order.
_ACCEPTED = {code: ReasonCode(PacketTypes.PUBACK, identifier=code) for code in (0x00, 0x10)}
_NO_PROPERTIES = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call]


class BufferedSocket:
    """A socket whose ``recv`` returns what was read before, as far as there is any."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = b""
        self._position = 0

    def recv(self, size: int) -> bytes:
        if not self.pending():
            self._buffer, self._position = self._socket.recv(max(size, READ_BYTES)), 0
        part = self._buffer[self._position : self._position + size]
        self._position += len(part)
        return part

    def pending(self) -> int:
        """Count the bytes that are here already, which no event announces."""
        return len(self._buffer) - self._position

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class BufferedClient(aiomqtt.Client):
    """A client whose connection, unless it is encrypted, has a buffer.

    ``on_new_session`` is called before the first message of a connection where the broker has no
    session of this client.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.on_new_session: Callable[[], None] = lambda: None
        self.identifies_subscriptions = True
        client: Any = self._client
        self._queue_packet = client._packet_queue
        self._handle_acknowledgement = client._handle_pubackcomp
        client._handle_publish = self._received
        client._packet_queue = self._queue_or_join
        client._handle_pubackcomp = self._acknowledged

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        # The library forgets a disconnection that comes right after the broker's answer, and the
        # client would wait for messages without an end.
        if not self._client.is_connected() and not self._disconnected.done():
            self._disconnected.set_exception(aiomqtt.MqttError("the broker ended the connection"))
        return self

    def _queue_or_join(
        self, command: int, packet: bytes | bytearray, mid: int, qos: int, info: Any = None
    ) -> MQTTErrorCode:
        """Queue a packet to be written, together with the one before it where that waits too."""
        queued = self._client._out_packet
        last: Any = queued[-1] if queued else None
        if (
            last is not None
            and last["pos"] == 0
            and len(last["packet"]) + len(packet) <= WRITE_BYTES
            and _joins(command)
            and _joins(last["command"])
        ):
            if isinstance(last["packet"], bytes):
                last["packet"] = bytearray(last["packet"])
            last["packet"] += packet
            last["to_process"] += len(packet)
            # Taken by the connection, which nothing else tells. No more than one packet's room is
            # taken like this: who sends the next one waits for it.
            if info is not None and not qos:
                info._set_as_published()
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        result: MQTTErrorCode = self._queue_packet(command, packet, mid, qos, info)
        return result

    def _received(self) -> MQTTErrorCode:
        """Receive a message. No client of ours subscribes with QoS 2, which would need more."""
        client: Any = self._client
        message = decode_publish(client._in_packet["command"], client._in_packet["packet"])
        client._handle_on_message(message)
        result: MQTTErrorCode = MQTTErrorCode.MQTT_ERR_SUCCESS
        if message.qos and not client._manual_ack:
            result = client._send_puback(message.mid)
        return result

    def _acknowledged(self, command: str) -> MQTTErrorCode:
        """Handle an acknowledgement; those without properties and failures need no decoding."""
        client: Any = self._client
        packet = client._in_packet["packet"]
        reason = _ACCEPTED.get(packet[2] if len(packet) > 2 else 0)
        result: MQTTErrorCode = MQTTErrorCode.MQTT_ERR_SUCCESS
        is_short = len(packet) in (2, 3) or packet[3:] == b"\0"
        if command != "PUBACK" or reason is None or not is_short:
            result = self._handle_acknowledgement(command)
        elif (mid := int.from_bytes(packet[:2], "big")) in client._out_messages:
            result = client._do_on_publish(mid, reason, _NO_PROPERTIES)
        return result

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        available = getattr(properties, "SubscriptionIdentifierAvailable", 1)
        self.identifies_subscriptions = bool(available)
        # A refused connection has no session either, and ends none.
        if reason_code == CONNACK_ACCEPTED and not flags.session_present:
            self.on_new_session()
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        # Both others have a buffer of their own.
        if isinstance(sock, socket.socket) and not isinstance(sock, ssl.SSLSocket):
            # The client has no access to the options of a socket that it does not know.
            # Without this one the system delays small messages by up to 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client._sock = sock = BufferedSocket(sock)
        super()._on_socket_open(client, userdata, sock)


def _joins(command: int) -> bool:
    """Check for a packet that does not change the state of the connection."""
    return command & 0xF0 in (_PUBACK, _PUBLISH)
