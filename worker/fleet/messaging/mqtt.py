"""The bus over MQTT 5, with aiomqtt.

A connection that breaks is made anew, after a wait that grows and is never quite the same. The
session is a clean one each time: what was on its way is said again by whoever said it, so the
broker need not keep it (its queue is bounded, and drops silently what is over).
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from contextlib import suppress
from typing import Any, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from worker.fleet.messaging.address import Address
from worker.fleet.messaging.bus import Arrival, Connected, Disconnected, Inbox, Message

UNDER_WAY = 20
"""How many messages are sent and not yet taken by the broker: measured as the best."""
SLOWEST_S = 5.0
KEEPALIVE_S = 5
LARGEST = 128 * 1024 * 1024
"""The largest packet that the broker may hand over, in bytes."""
_TAKEN_OVER = 0x8E
_LOG = logging.getLogger("worker.mqtt")
# It tells of breaks, which arrive as such, and warns of ten messages under way, which are wanted.
_LOG.setLevel(logging.CRITICAL)


class MqttBus:
    """One party's connection to a broker. ``id`` is its client id: a second connection with the
    same one takes the place of the first."""

    def __init__(
        self, address: Address, *filters: str, id: str = "", will: Message | None = None
    ) -> None:
        self._address = address
        self._filters = list(filters)
        self._id = id
        self._will = will
        self._inbox = Inbox()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._client: aiomqtt.Client | None = None
        self._context = address.context()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._keeper = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *reason: object) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._outbox.join()
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)

    @property
    def dropped(self) -> int:
        """How many messages came faster than they were taken."""
        return self._inbox.dropped

    def publish(self, message: Message) -> None:
        if self._client is not None:
            self._outbox.put_nowait(message)

    def subscribe(self, filter: str) -> None:
        self._filters.append(filter)
        if self._client is not None:
            task = asyncio.create_task(self._subscribe(self._client, filter))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _subscribe(self, client: aiomqtt.Client, filter: str) -> None:
        with suppress(aiomqtt.MqttError):  # made again with the next connection
            await client.subscribe(filter, qos=1)

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        return await self._inbox.take(wait_s)

    # --- the connection ---------------------------------------------------------------------------

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                async with self._connection() as client:
                    for filter in self._filters:
                        await client.subscribe(filter, qos=1)
                    failures = 0
                    await self._serve(client)
            except (aiomqtt.MqttError, OSError) as error:
                self._inbox.put(Disconnected(_why(error)))
            # What was not sent is said again by whoever said it.
            self._empty()
            failures += 1
            await asyncio.sleep(_pause(failures))

    def _connection(self) -> aiomqtt.Client:
        inbox = self._inbox

        class Tap(asyncio.Queue[aiomqtt.Message]):
            """Hands messages over at once: to iterate over them costs a task each."""

            def put_nowait(self, item: aiomqtt.Message) -> None:
                inbox.put(_received(item))

        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.MaximumPacketSize = LARGEST
        nodelay = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        return aiomqtt.Client(
            self._address.host,
            self._address.port,
            username=self._address.username,
            password=self._address.password,
            identifier=self._id or None,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            will=_will(self._will),
            keepalive=KEEPALIVE_S,
            properties=connect,
            max_inflight_messages=UNDER_WAY,
            tls_context=self._context,
            socket_options=nodelay,
            queue_type=Tap,
            timeout=10,
            logger=_LOG,
        )

    async def _serve(self, client: aiomqtt.Client) -> None:
        self._client = client
        self._inbox.put(Connected())
        senders = [asyncio.create_task(self._send(client)) for _ in range(UNDER_WAY)]
        try:
            async for _ in client.messages:
                pass  # the tap takes them all: this ends with the connection
        finally:
            self._client = None
            for sender in senders:
                sender.cancel()
            await asyncio.gather(*senders, return_exceptions=True)

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            message = await self._outbox.get()
            try:
                await client.publish(
                    message.topic,
                    message.payload,
                    qos=1 if message.once or message.retain else 0,
                    retain=message.retain,
                    properties=_properties(message),
                )
            except (aiomqtt.MqttError, ValueError) as error:
                _LOG.debug("not sent: %s", error)
            finally:
                self._outbox.task_done()

    def _empty(self) -> None:
        while not self._outbox.empty():
            self._outbox.get_nowait()
            self._outbox.task_done()


def _pause(failures: int) -> float:
    """Longer each time, and not the same for all who lost the broker together."""
    return min(SLOWEST_S, 0.1 * 2.0**failures) * random.uniform(0.5, 1.0)  # noqa: S311


def _received(item: aiomqtt.Message) -> Message:
    properties = item.properties
    return Message(
        topic=item.topic.value,
        payload=item.payload if isinstance(item.payload, bytes) else b"",
        retain=item.retain,
        reply_to=getattr(properties, "ResponseTopic", ""),
        correlation=getattr(properties, "CorrelationData", b""),
    )


def _properties(message: Message) -> Properties | None:
    structured = message.content_type != "application/json"
    if not (message.reply_to or message.correlation or message.expiry_s or structured):
        return None
    found = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if message.reply_to:
        found.ResponseTopic = message.reply_to
    if message.correlation:
        found.CorrelationData = message.correlation
    if message.expiry_s:
        found.MessageExpiryInterval = message.expiry_s
    if structured:
        found.ContentType = message.content_type
    return found


def _will(message: Message | None) -> aiomqtt.Will | None:
    if message is None:
        return None
    return aiomqtt.Will(message.topic, message.payload, qos=1, retain=message.retain)


def _why(error: Any) -> str:
    code = getattr(getattr(error, "rc", None), "value", None)
    if code == _TAKEN_OVER:
        return "another party connected with the same name"
    return str(error) or type(error).__name__
