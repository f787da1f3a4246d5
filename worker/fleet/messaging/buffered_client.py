"""A client of MQTT that reads from its socket, and writes to it, in large parts.

It decodes the messages that it receives by itself, as anybody may have sent them.

Paho reads each packet in three calls or more, and writes each in one. A call of the system releases
the interpreter's lock, and with a busy thread beside it, such as the processor of a control plane,
this one waits for the lock after each.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self, TypeVar

import aiomqtt
from paho.mqtt.client import CONNACK_ACCEPTED
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from worker.fleet.messaging.publish_packet import decode_publish

READ_BYTES = 64 * 1024
WRITE_BYTES = 64 * 1024
"""The most that is written at once. Of larger packets paho copies the rest with each write."""
_PUBLISH, _PUBACK = 0x30, 0x40
# The usual ones: success, and no subscriber, as most often nobody follows a single order.
_ACCEPTED = {code: ReasonCode(PacketTypes.PUBACK, identifier=code) for code in (0x00, 0x10)}


CLOSED_EARLY = "the connection closed before the broker answered"
T = TypeVar("T")


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
    session of this client, ``on_acknowledged`` with the number of a message that the broker has
    acknowledged and its reason code, ``on_written`` after all packets were written.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.on_new_session: Callable[[], None] = lambda: None
        self.on_acknowledged: Callable[[int, ReasonCode], None] = lambda id, reason: None
        self.on_written: Callable[[], None] = lambda: None
        self.identifies_subscriptions = True
        client: Any = self._client
        self._awaits_room = False
        self._queue_packet = client._packet_queue
        self._handle_acknowledgement = client._handle_pubackcomp
        client._handle_publish = self._received
        client._packet_queue = self._queue_or_join
        client._handle_pubackcomp = self._acknowledged

    async def __aenter__(self) -> Self:
        try:
            await super().__aenter__()
        except BaseException:
            self._close_socket()
            raise
        # The library forgets a disconnection that comes right after the broker's answer, and the
        # client would wait for messages without an end.
        if not self._client.is_connected() and not self._disconnected.done():
            self._end(aiomqtt.MqttError("the broker ended the connection"))
        return self

    async def __aexit__(self, *reason: Any) -> None:
        try:
            await super().__aexit__(*reason)
        finally:
            self._close_socket()

    def _close_socket(self) -> None:
        # Else it is closed as it is collected as garbage, in any thread.
        client: Any = self._client
        client._sock_close()

    async def _wait_for(self, fut: Awaitable[T], timeout: float | None) -> T:  # noqa: ASYNC109
        """Wait for an answer of the broker, at most as long as there is a connection.

        The library waits for its whole timeout, as for a subscription that was on its way.
        """
        answer, ended = asyncio.ensure_future(fut), self._disconnected
        limit_s = self.timeout if timeout is None else timeout
        try:
            await asyncio.wait(
                (answer, ended), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        raise aiomqtt.MqttError(CLOSED_EARLY if ended.done() else "Operation timed out")

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
            and _ends_silently(command, qos)
            and _ends_silently(last["command"], last["qos"])
        ):
            if isinstance(last["packet"], bytes):
                last["packet"] = bytearray(last["packet"])
            last["packet"] += packet
            last["to_process"] += len(packet)
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        result: MQTTErrorCode = self._queue_packet(command, packet, mid, qos, info)
        return result

    def _received(self) -> MQTTErrorCode:
        """Receive a message. No client of ours subscribes with QoS 2, which would need more."""
        client: Any = self._client
        message = decode_publish(client._in_packet["command"], client._in_packet["packet"])
        # Directly, as nobody registers a callback for a filter.
        client.on_message(client, None, message)
        result: MQTTErrorCode = MQTTErrorCode.MQTT_ERR_SUCCESS
        if message.qos and not client._manual_ack:
            result = client._send_puback(message.mid)
        return result

    def _acknowledged(self, command: str) -> MQTTErrorCode:
        """Handle an acknowledgement; of its properties nobody reads any."""
        packet = self._client._in_packet["packet"]
        if command != "PUBACK" or len(packet) < 2:
            result: MQTTErrorCode = self._handle_acknowledgement(command)
            return result
        code = packet[2] if len(packet) > 2 else 0
        reason = _ACCEPTED.get(code) or ReasonCode(PacketTypes.PUBACK, identifier=code)
        self.on_acknowledged(int.from_bytes(packet[:2], "big"), reason)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        available = getattr(properties, "SubscriptionIdentifierAvailable", 1)
        self.identifies_subscriptions = bool(available)
        # A refused connection has no session either, and ends none.
        if reason_code == CONNACK_ACCEPTED and not flags.session_present:
            self.on_new_session()
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(self, client: Any, userdata: Any, *details: Any) -> None:
        # Who waited for the connection was cancelled, and the library would raise that here.
        if self._connected.cancelled():
            return
        # The library ignores a connection that closes before the broker's answer, as it does where
        # a broker restarts behind a proxy, and waits for its whole timeout.
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError(CLOSED_EARLY))
        super()._on_disconnect(client, userdata, *details)
        # Else asyncio writes to the log that nobody has asked for it, where nobody has to.
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        # TLS and WebSockets have buffers of their own.
        if isinstance(sock, socket.socket) and not isinstance(sock, ssl.SSLSocket):
            # The client has no access to the options of a socket that it does not know.
            # Without this one the system delays small messages by up to 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client._sock = sock = BufferedSocket(sock)
        # A thread connects.
        self._loop.call_soon_threadsafe(self._start_reading, client, sock)

    # The library registers a socket with the loop by its number, and later than it was told to. The
    # socket may be closed by then, and another file may have the number: the next connection with
    # it would receive nothing. So a socket is registered while it is open, or not at all.

    def _start_reading(self, client: Any, sock: Any) -> None:
        if client.socket() is sock:
            self._loop.add_reader(sock.fileno(), self._read, client, sock)
            self._misc_task = self._loop.create_task(self._misc_loop())

    def _read(self, client: Any, sock: Any) -> None:
        with self._noted_failure():
            client.loop_read()
            # What a buffer holds already, no event announces.
            while client.socket() is sock and getattr(sock, "pending", int)() > 0:
                client.loop_read()

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        """Write in the next turn of the loop, with all packets that are queued until then.

        Sockets take nearly all packets at once. The library's way to write one, which waits for an
        event of the socket, takes five calls of the system beside the one that writes.
        """
        if self._connected.done():
            self._loop.call_soon(self._write, client, sock)
        else:
            # A thread connects.
            self._loop.call_soon_threadsafe(self._write, client, sock)

    def _write(self, client: Any, sock: Any) -> None:
        if client.socket() is not sock:
            return
        with self._noted_failure():
            client.loop_write()
        if client.want_write() and client.socket() is sock and not self._awaits_room:
            self._awaits_room = True
            self._loop.add_writer(sock.fileno(), self._write, client, sock)

    def _on_socket_unregister_write(self, client: Any, userdata: Any, sock: Any) -> None:
        if self._awaits_room:
            self._awaits_room = False
            self._loop.remove_writer(sock.fileno())
        self.on_written()

    @contextlib.contextmanager
    def _noted_failure(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # As the library does it: the connection broke.
            if not self._disconnected.done():
                self._end(error)

    def _end(self, error: Exception) -> None:
        """Note why the connection ended, for those who ask."""
        self._disconnected.set_exception(error)
        # Else asyncio writes to the log that nobody has asked for it, where nobody has to.
        self._disconnected.exception()


def _ends_silently(command: int, qos: int) -> bool:
    """Return True for a packet after whose last byte paho has nothing more to do."""
    kind = command & 0xF0
    return kind == _PUBACK or (kind == _PUBLISH and qos > 0)
