"""A bus over MQTT 5, with aiomqtt.

A broken connection is made anew after an exponential backoff with jitter. Each session is a clean
one: senders retransmit, so the broker need not queue messages for absent clients (its queue is
bounded, and drops messages silently).
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from worker.errors import UsageError
from worker.fleet.messaging.address import Address
from worker.fleet.messaging.bus import (
    AccessDenied,
    Arrival,
    Connected,
    Disconnected,
    Inbox,
    Message,
)
from worker.fleet.messaging.connection_problems import connection_problem
from worker.fleet.messaging.content import MAX_MESSAGE_BYTES
from worker.fleet.messaging.end_tasks import end_tasks
from worker.fleet.messaging.message_sender import MAX_IN_FLIGHT, MessageSender
from worker.fleet.messaging.packets import (
    MAX_PACKET_BYTES,
    MIN_PACKET_BYTES,
    PACKET_ENVELOPE_BYTES,
)
from worker.fleet.messaging.publishing_client import ACCESS_DENIED, PublishingClient
from worker.fleet.messaging.reconnect_pauses import backoff_s, failures_after
from worker.util.machine_clock import monotonic_s

# A connection that brings nothing any more is noticed within twice this time.
KEEPALIVE_S = 5
_SESSION_TAKEN_OVER = 0x8E
_LOG = logging.getLogger("worker.mqtt")
# aiomqtt logs disconnects, which arrive as such, and warns of ten messages in flight.
_LOG.setLevel(logging.CRITICAL)


class MqttBus:
    """The connection of one participant to a broker.

    ``id`` is the MQTT client id: a second connection with the same id replaces the first. No packet
    is larger than ``max_packet_bytes``, or than the broker's limit where that is less.
    """

    def __init__(
        self,
        address: Address,
        *filters: str,
        id: str = "",
        will: Message | None = None,
        max_packet_bytes: int = MAX_PACKET_BYTES,
        keepalive_s: int = KEEPALIVE_S,
    ) -> None:
        if max_packet_bytes < MIN_PACKET_BYTES:
            raise UsageError(f"packets need {MIN_PACKET_BYTES:,} bytes, not {max_packet_bytes:,}")
        self._address = address
        # How often each is subscribed to.
        self._filters = Counter(filters)
        self._id = id
        self._will = will
        self._inbox = Inbox()
        self._sender = MessageSender(self._inbox)
        self._keepalive_s = keepalive_s
        self._max_packet_bytes = max_packet_bytes
        self._max_message_bytes = self._payload_limit(max_packet_bytes)
        self._client: PublishingClient | None = None
        self._refusal: AccessDenied | None = None
        self._context = address.context()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._connection_task = asyncio.create_task(self._stay_connected())
        return self

    async def __aexit__(self, *reason: object) -> None:
        # The last messages, such as the presence, should leave; a dead broker must not delay it.
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._sender.join()
        await end_tasks(self._connection_task)

    @property
    def dropped(self) -> tuple[int, int]:
        return self._inbox.dropped, self._sender.dropped

    @property
    def waiting(self) -> tuple[int, int]:
        return len(self._inbox), self._sender.waiting

    @property
    def oldest_s(self) -> float:
        return self._inbox.oldest_s

    @property
    def max_message_bytes(self) -> int:
        return self._max_message_bytes

    @staticmethod
    def _payload_limit(packet_bytes: int) -> int:
        return min(MAX_MESSAGE_BYTES, packet_bytes - PACKET_ENVELOPE_BYTES)

    def publish(self, message: Message) -> None:
        self._sender.publish(message)

    async def confirm(self, message: Message) -> None:
        await self._sender.confirm(message)

    def subscribe(self, filter: str) -> None:
        # Sent each time, as the broker answers it with the retained messages.
        self._filters[filter] += 1
        if self._client is not None:
            self._send_request(self._subscribe(self._client, filter))

    def unsubscribe(self, filter: str) -> None:
        self._filters[filter] -= 1
        if self._filters[filter] > 0:
            return
        del self._filters[filter]
        if self._client is not None:
            self._send_request(self._client.unsubscribe(filter))

    def _send_request(self, request: Coroutine[Any, Any, None]) -> None:
        async def send() -> None:
            # The next connection subscribes to the filters that there are then.
            with suppress(aiomqtt.MqttError):
                await request

        task = asyncio.create_task(send())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _subscribe_to_all(self, client: PublishingClient) -> None:
        subscribed = set[str]()
        # Filters may be added and removed meanwhile.
        while changed := subscribed ^ self._filters.keys():
            for filter in sorted(changed):
                if filter in self._filters:
                    await self._subscribe(client, filter)
                else:
                    await client.unsubscribe(filter)
            subscribed ^= changed

    async def _subscribe(self, client: PublishingClient, filter: str) -> None:
        (code,) = await client.subscribe(filter, qos=1)
        if getattr(code, "is_failure", False):
            raise aiomqtt.MqttError(f"the broker refuses the subscription to {filter}: {code}")

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        arrivals = await self._inbox.take(wait_s)
        if self._refusal is not None:
            raise self._refusal
        return arrivals

    # --- the connection ---------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        failures, connected_before = 0, False
        while True:
            began = math.inf
            try:
                async with self._connection() as client:
                    await self._subscribe_to_all(client)
                    connected_before, began = True, monotonic_s()
                    await self._serve(client)
            except MqttConnectError as error:
                reason = f"the broker {self._address} refuses the connection: {error}"
                # After a first success the reason may be temporary, such as a change of passwords.
                if not connected_before and _code(error) in ACCESS_DENIED:
                    reason = f"{reason} ({self._address.remedy})"
                    self._refusal = AccessDenied(reason)
                self._inbox.put(Disconnected(reason))
            except (aiomqtt.MqttError, OSError) as error:
                self._inbox.put(Disconnected(self._describe(error, connected_before)))
            # Unsent messages are dropped: their senders retransmit what still matters.
            self._sender.drop_unsent()
            # A connection that does not last counts as a failure: another process of the same name
            # would else make both reconnect without a pause.
            failures = failures_after(failures, monotonic_s() - began)
            await asyncio.sleep(backoff_s(failures))

    def _describe(self, error: Exception, connected_before: bool) -> str:
        reason = _reason(error)
        return reason if connected_before else f"cannot connect to {self._address}: {reason}"

    def _connection(self) -> PublishingClient:
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.MaximumPacketSize = self._max_packet_bytes
        # Without it the system delays small messages by up to 40 ms.
        nodelay = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        client = PublishingClient(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            identifier=self._id or None,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            will=_will(self._will),
            keepalive=self._keepalive_s,
            properties=connect,
            max_inflight_messages=MAX_IN_FLIGHT,
            tls_context=self._context,
            socket_options=nodelay,
            timeout=10,
            transport="websockets" if self._address.websocket_path else "tcp",
            websocket_path=self._address.websocket_path or None,
            logger=_LOG,
        )
        # Directly: to iterate over the client's messages would cost a task for each of them.
        client._client.on_message = lambda _client, _data, message: self._inbox.put(
            _received(message)
        )
        return client

    async def _serve(self, client: PublishingClient) -> None:
        packet_bytes = min(self._max_packet_bytes, client.max_packet_bytes)
        if packet_bytes < MIN_PACKET_BYTES:
            raise aiomqtt.MqttError(
                f"the broker's limit of {packet_bytes:,} bytes a packet is too small: "
                f"{MIN_PACKET_BYTES:,} are needed"
            )
        self._max_message_bytes = self._payload_limit(packet_bytes)
        client.max_packet_bytes = packet_bytes
        self._client = client
        self._sender.connect(client)
        self._inbox.put(Connected())
        watcher = asyncio.create_task(client.watch())
        try:
            async for _ in client.messages:
                pass  # the inbox receives them all: this ends with the connection
        finally:
            self._client = None
            self._sender.disconnect()
            await end_tasks(watcher)
            client.fail_unacknowledged(ConnectionError("the connection to the broker broke"))


def _received(item: MQTTMessage) -> Message:
    properties = item.properties
    return Message(
        topic=item.topic,
        payload=bytes(item.payload),
        retain=item.retain,
        reply_to=getattr(properties, "ResponseTopic", ""),
        correlation=getattr(properties, "CorrelationData", b""),
    )


def _will(message: Message | None) -> aiomqtt.Will | None:
    if message is None:
        return None
    return aiomqtt.Will(message.topic, message.payload, qos=1, retain=message.retain)


def _code(error: Any) -> int | None:
    """Return the MQTT reason code of an error, if it has one."""
    return getattr(getattr(error, "rc", None), "value", None)


def _reason(error: Any) -> str:
    # aiomqtt raises a general error, whose cause has the reason code of the broker.
    if _SESSION_TAKEN_OVER in (_code(error), _code(error.__cause__)):
        return "another process connected with the same name"
    return connection_problem(error)
