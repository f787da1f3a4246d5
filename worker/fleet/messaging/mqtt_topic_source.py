"""A source of messages for triggers over MQTT 5: one lasting session, acknowledged by hand.

The client id is the same for all control planes of a fleet, so the session, with its queue and its
unacknowledged messages, goes from one that ends to the next. A shared subscription would not do:
a broker may drop what it has sent to a consumer that was killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import socket
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from worker.fleet.messaging.address import Address
from worker.fleet.messaging.buffered_client import BufferedClient
from worker.fleet.messaging.end_tasks import end_tasks
from worker.fleet.messaging.mqtt import KEEPALIVE_S
from worker.fleet.messaging.packets import MAX_PACKET_BYTES
from worker.fleet.messaging.reconnect_pauses import backoff_s, failures_after
from worker.fleet.messaging.topic_source import (
    MAX_UNACKNOWLEDGED,
    Subscription,
    TopicInbox,
    TopicMessage,
    identifier_of,
)
from worker.sinks.log import LeveledLogger
from worker.util.machine_clock import monotonic_s

SESSION_S = 7 * 86_400
"""How long the broker queues messages while no control plane is connected."""
# Of QoS 2 the client library has taken a message over before it is an order, and the broker does
# not send it again: it would be lost with the connection or this process.
MAX_QOS = 1
_ONLY_NEW, _NEVER = 1, 2
"""Handling of retained messages at a subscription."""


@dataclass(slots=True)
class _Receipt:
    """A message that is not acknowledged, with the number of its packet when it came first."""

    packet: tuple[int, int]
    qos: int
    digest: bytes
    done: bool = False


class MqttTopicSource:
    """A source of messages from a broker; ``id`` is the client id, which names the session.

    Packets that are larger than ``max_packet_bytes`` are not received.
    """

    def __init__(
        self,
        address: Address,
        *,
        id: str,
        log: LeveledLogger,
        max_packet_bytes: int = MAX_PACKET_BYTES,
    ) -> None:
        self._address = address
        self._max_packet_bytes = max_packet_bytes
        self._id = id
        self._log = log
        self._context = address.context()
        self._inbox = TopicInbox()
        self._wanted: dict[str, Subscription] = {}
        self._active: dict[str, Subscription] = {}
        self._stale: set[str] = set()
        # The filters that this connection has unsubscribed from: once is enough.
        self._ended: set[str] = set()
        self._changed = asyncio.Event()
        self._client: aiomqtt.Client | None = None
        self._connection = 0
        # By the number of the packet, in the order in which this connection received them. A plain
        # dict would pass over all that were removed to get to the first.
        self._receipts: OrderedDict[int, _Receipt] = OrderedDict()
        # Those of connections before, which this one has not received again.
        self._earlier: dict[int, _Receipt] = {}
        # Messages with an acknowledgement that were over the bytes that may wait: the broker sends
        # them, and all behind them, again on a new connection, which is made when there is room.
        self._overflowed = False
        self._has_room = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay_connected())
        return self

    async def __aexit__(self, *reason: object) -> None:
        await end_tasks(self._task)

    def subscribe(
        self, subscriptions: Mapping[str, Subscription], stale: Iterable[str] = ()
    ) -> None:
        self._wanted = dict(subscriptions)
        self._stale |= set(stale)
        self._changed.set()

    async def receive(self, wait_s: float) -> list[TopicMessage]:
        messages = await self._inbox.take(wait_s)
        if self._overflowed and self._inbox.is_empty:
            self._has_room.set()
        return messages

    def acknowledge(self, messages: Iterable[TopicMessage]) -> None:
        for message in messages:
            packet = message.packet[1]
            receipt = self._receipts.get(packet) or self._earlier.get(packet)
            # Another session may have a message with the same number.
            if receipt is not None and receipt.packet == message.packet:
                receipt.done = True
        self._send_acknowledgements()

    def _send_acknowledgements(self) -> None:
        # MQTT demands the order of receipt: those that are done wait for the ones before them. The
        # broker sends at most MAX_UNACKNOWLEDGED, and only a digest of each is held.
        while self._client is not None and self._receipts:
            packet, receipt = next(iter(self._receipts.items()))
            if not receipt.done:
                break
            del self._receipts[packet]
            self._client._client.ack(packet, receipt.qos)

    # --- the connection ---------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            began = math.inf
            try:
                async with self._new_client() as client:
                    await self._begin(client)
                    began = monotonic_s()
                    await self._serve(client)
                # Made anew on purpose.
                failures = 0
                continue
            except (aiomqtt.MqttError, MqttConnectError, OSError) as error:
                # A connection that does not last counts as a failure: another fleet of the same
                # topics on this broker would else make both reconnect without a pause.
                failures = failures_after(failures, monotonic_s() - began)
                # Once: a broker that is away for an hour would else fill the log.
                if failures == 1:
                    self._log.warning("topics.disconnected", error=str(error)[:200])
            finally:
                self._client = None
                # The session sends these again, with the same numbers.
                for message in self._inbox.forget_unacknowledged():
                    self._receipts.pop(message.packet[1], None)
                self._earlier |= self._receipts
                self._receipts.clear()
                self._overflowed = False
                self._has_room.clear()
            await asyncio.sleep(backoff_s(failures))

    def _new_client(self) -> BufferedClient:
        self._connection += 1
        connection = self._connection
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = SESSION_S
        connect.ReceiveMaximum = MAX_UNACKNOWLEDGED
        connect.MaximumPacketSize = self._max_packet_bytes
        client = BufferedClient(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            identifier=self._id,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            keepalive=KEEPALIVE_S,
            properties=connect,
            tls_context=self._context,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            timeout=10,
            transport="websockets" if self._address.websocket_path else "tcp",
            websocket_path=self._address.websocket_path or None,
        )
        client._client.manual_ack_set(True)
        # Directly: messages of the library between them have no mark of a retransmission.
        client._client.on_message = lambda _client, _data, message: self._receive(
            _received(message, connection)
        )
        client.on_new_session = self._begin_session
        # Set before the connection: the session's messages follow its acknowledgement at once.
        self._client = client
        return client

    def _begin_session(self) -> None:
        # Its packets have the numbers of others before, and some have the same content: those would
        # be taken for repetitions of messages that have an order.
        self._earlier.clear()

    def _receive(self, message: TopicMessage) -> None:
        if message.qos == 0:
            self._inbox.put(message)
        elif not self._overflowed:
            self._receive_reliably(message)

    def _receive_reliably(self, message: TopicMessage) -> None:
        packet, digest = message.packet[1], _digest(message)
        earlier = self._earlier.pop(packet, None)
        # Not every earlier one comes again (it may have expired), and its number is used anew: MQTT
        # demands the mark of a retransmission.
        if message.repeated and earlier is not None and earlier.digest == digest:
            self._receipts[packet] = earlier
            self._send_acknowledgements()
        elif self._inbox.is_full(message):
            self._overflowed = True
        else:
            self._receipts[packet] = _Receipt(message.packet, message.qos, digest)
            self._inbox.put(message)

    async def _begin(self, client: BufferedClient) -> None:
        self._active, self._ended = {}, set()
        await self._update(client)
        self._log.info("topics.connected", subscriptions=len(self._active))

    async def _serve(self, client: BufferedClient) -> None:
        """Receive until the connection is lost, which is an error, or has to be made anew."""
        updates = asyncio.create_task(self._follow_changes(client))
        lost = asyncio.create_task(_until_lost(client))
        has_room = asyncio.create_task(self._has_room.wait())
        try:
            await asyncio.wait((lost, has_room), return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
        finally:
            await end_tasks(updates, lost, has_room)

    async def _follow_changes(self, client: BufferedClient) -> None:
        while True:
            await self._changed.wait()
            with suppress(aiomqtt.MqttError):  # repeated with the next connection
                await self._update(client)

    async def _update(self, client: BufferedClient) -> None:
        self._changed.clear()
        wanted = dict(self._wanted)
        self._ended -= wanted.keys()
        for filter in (self._active.keys() | self._stale) - wanted.keys() - self._ended:
            await client.unsubscribe(filter)
            self._ended.add(filter)
        for filter, subscription in wanted.items():
            if self._active.get(filter) != subscription:
                handling = _ONLY_NEW if subscription.retained else _NEVER
                qos = min(subscription.qos, MAX_QOS)
                options = SubscribeOptions(qos=qos, retainHandling=handling)
                properties = _identified(filter) if client.identifies_subscriptions else None
                (code,) = await client.subscribe(filter, options=options, properties=properties)
                if getattr(code, "is_failure", False):
                    self._log.warning("topics.refused", topic=filter, error=str(code))
        self._active = wanted


async def _until_lost(client: aiomqtt.Client) -> None:
    async for _ in client.messages:
        pass  # there are none, as the source receives them all: this ends with the connection


def _identified(filter: str) -> Properties:
    properties = Properties(PacketTypes.SUBSCRIBE)  # type: ignore[no-untyped-call]
    properties.SubscriptionIdentifier = identifier_of(filter)
    return properties


def _digest(message: TopicMessage) -> bytes:
    return hashlib.sha256(message.topic.encode() + b"\0" + message.payload).digest()


def _text_size(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) for name, value in pairs)


def _received(item: MQTTMessage, connection: int) -> TopicMessage:
    properties: Any = item.properties
    pairs = getattr(properties, "UserProperty", ())
    named = dict(pairs)
    dropped_bytes = _text_size(pairs) - _text_size(named.items())
    if content_type := getattr(properties, "ContentType", ""):
        named.setdefault("content_type", content_type)
    return TopicMessage(
        topic=item.topic,
        payload=item.payload if isinstance(item.payload, bytes) else b"",
        qos=item.qos,
        retain=item.retain,
        properties=named,
        dropped_properties_bytes=dropped_bytes,
        reply_to=getattr(properties, "ResponseTopic", ""),
        correlation=getattr(properties, "CorrelationData", b""),
        packet=(connection, item.mid),
        repeated=item.dup,
        subscriptions=frozenset(getattr(properties, "SubscriptionIdentifier", ())),
    )
