"""A source of messages for triggers over MQTT 5: one lasting session, acknowledged by hand.

The client id is the same for all control planes of a fleet, so the session, with its queue and its
unacknowledged messages, goes from one that ends to the next. A shared subscription would not do:
a broker may drop what it has sent to a consumer that was killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Self

import aiomqtt
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from worker.fleet.messaging.address import Address
from worker.fleet.messaging.mqtt import KEEPALIVE_S, MAX_PACKET_BYTES, backoff_s
from worker.fleet.messaging.topic_source import (
    MAX_UNACKNOWLEDGED,
    Subscription,
    TopicInbox,
    TopicMessage,
)
from worker.sinks.log import LeveledLogger

SESSION_S = 7 * 86_400
"""How long the broker queues messages while no control plane is connected."""
_ONLY_NEW, _NEVER = 1, 2
"""Handling of retained messages at a subscription."""


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
        # Messages with an order whose acknowledgement came too late, by the number of the packet.
        self._done: dict[int, bytes] = {}

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay_connected())
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def subscribe(
        self, subscriptions: Mapping[str, Subscription], stale: Iterable[str] = ()
    ) -> None:
        self._wanted = dict(subscriptions)
        self._stale |= set(stale)
        self._changed.set()

    async def receive(self, wait_s: float) -> list[TopicMessage]:
        return await self._inbox.take(wait_s)

    def acknowledge(self, messages: Iterable[TopicMessage]) -> None:
        for message in messages:
            connection, packet = message.packet
            if message.qos == 0:
                continue
            if self._client is not None and connection == self._connection:
                self._client._client.ack(packet, message.qos)
            else:
                self._done[packet] = _digest(message)

    # --- the connection ---------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                async with self._new_client() as client:
                    failures = 0
                    await self._serve(client)
            except (aiomqtt.MqttError, MqttConnectError, OSError) as error:
                # Once: a broker that is away for an hour would else fill the log.
                if failures == 0:
                    self._log.warning("topics.disconnected", error=str(error)[:200])
            finally:
                self._client = None
                # The session sends these again, with the same numbers.
                self._inbox.forget_unacknowledged()
            failures += 1
            await asyncio.sleep(backoff_s(failures))

    def _new_client(self) -> aiomqtt.Client:
        self._connection += 1
        connection, receive = self._connection, self._receive

        class TopicTap(asyncio.Queue[aiomqtt.Message]):
            """A queue that passes messages on at once."""

            def put_nowait(self, item: aiomqtt.Message) -> None:
                receive(_received(item, connection))

        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = SESSION_S
        connect.ReceiveMaximum = MAX_UNACKNOWLEDGED
        connect.MaximumPacketSize = self._max_packet_bytes
        client = aiomqtt.Client(
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
            queue_type=TopicTap,
            timeout=10,
            transport="websockets" if self._address.websocket_path else "tcp",
            websocket_path=self._address.websocket_path or None,
        )
        client._client.manual_ack_set(True)
        # Set before the connection: the session's messages follow its acknowledgement at once.
        self._client = client
        return client

    def _receive(self, message: TopicMessage) -> None:
        done = self._done.pop(message.packet[1], None) if message.qos else None
        if done is not None and done == _digest(message):
            self.acknowledge([message])
        else:
            self._inbox.put(message)

    async def _serve(self, client: aiomqtt.Client) -> None:
        self._active, self._ended = {}, set()
        await self._update(client)
        self._log.info("topics.connected", subscriptions=len(self._active))
        updates = asyncio.create_task(self._follow_changes(client))
        try:
            async for _ in client.messages:
                pass  # the tap receives them all: this ends with the connection
        finally:
            updates.cancel()
            await asyncio.gather(updates, return_exceptions=True)

    async def _follow_changes(self, client: aiomqtt.Client) -> None:
        while True:
            await self._changed.wait()
            with suppress(aiomqtt.MqttError):  # repeated with the next connection
                await self._update(client)

    async def _update(self, client: aiomqtt.Client) -> None:
        self._changed.clear()
        wanted = dict(self._wanted)
        self._ended -= wanted.keys()
        for filter in (self._active.keys() | self._stale) - wanted.keys() - self._ended:
            await client.unsubscribe(filter)
            self._ended.add(filter)
        for filter, subscription in wanted.items():
            if self._active.get(filter) != subscription:
                handling = _ONLY_NEW if subscription.retained else _NEVER
                options = SubscribeOptions(qos=subscription.qos, retainHandling=handling)
                (code,) = await client.subscribe(filter, options=options)
                if getattr(code, "is_failure", False):
                    self._log.warning("topics.refused", topic=filter, error=str(code))
        self._active = wanted


def _digest(message: TopicMessage) -> bytes:
    return hashlib.sha256(message.topic.encode() + b"\0" + message.payload).digest()


def _received(item: aiomqtt.Message, connection: int) -> TopicMessage:
    properties: Any = item.properties
    named = dict(getattr(properties, "UserProperty", ()))
    if content_type := getattr(properties, "ContentType", ""):
        named.setdefault("content_type", content_type)
    return TopicMessage(
        topic=item.topic.value,
        payload=item.payload if isinstance(item.payload, bytes) else b"",
        qos=item.qos,
        retain=item.retain,
        properties=named,
        reply_to=getattr(properties, "ResponseTopic", ""),
        correlation=getattr(properties, "CorrelationData", b""),
        packet=(connection, item.mid),
    )
