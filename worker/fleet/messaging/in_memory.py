"""A bus without a broker, for clients, a control plane and workers in one process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Self

from worker.fleet.messaging.bus import Arrival, Connected, Disconnected, Inbox, Message
from worker.fleet.messaging.content import MAX_MESSAGE_BYTES
from worker.fleet.messaging.topic_source import Subscription, TopicInbox, TopicMessage
from worker.fleet.messaging.topics import covers


class LocalBroker:
    """A broker for the participants of one event loop, with retained messages and wills."""

    def __init__(self) -> None:
        self._connected: list[LocalBus] = []
        self._retained: dict[str, Message] = {}
        self.sources: list[LocalTopicSource] = []

    def bus(self, *filters: str, will: Message | None = None) -> LocalBus:
        """Create a bus for one participant, which subscribes to ``filters``."""
        return LocalBus(self, filters, will)

    def connect(self, bus: LocalBus) -> None:
        self._connected.append(bus)
        bus.deliver(Connected())
        self.deliver_retained(bus, bus.filters)

    def subscribe(self, bus: LocalBus, filter: str) -> None:
        bus.filters.append(filter)
        self.deliver_retained(bus, [filter])

    def unsubscribe(self, bus: LocalBus, filter: str) -> None:
        bus.filters.remove(filter)

    def deliver_retained(self, bus: LocalBus, filters: Iterable[str]) -> None:
        for message in self.retained_on(filters):
            bus.deliver(message)

    def retained_on(self, filters: Iterable[str]) -> list[Message]:
        """List the retained messages that filters cover."""
        wanted = list(filters)
        return [
            message
            for message in self._retained.values()
            if any(covers(filter, message.topic) for filter in wanted)
        ]

    def disconnect(self, bus: LocalBus) -> None:
        if bus in self._connected:
            self._connected.remove(bus)

    def route(self, message: Message) -> None:
        """Deliver a message to all subscribers, and store it if it is retained."""
        if message.retain and message.payload:
            self._retained[message.topic] = message
        elif message.retain:
            self._retained.pop(message.topic, None)
        # As in MQTT, the flag marks messages from the store, not those that are just published.
        live = replace(message, retain=False)
        for bus in self._connected:
            if bus.subscribes_to(message.topic):
                bus.deliver(live)
        for source in self.sources:
            source.deliver(live)


class LocalBus:
    """The connection of one participant to a :class:`LocalBroker`."""

    max_message_bytes = MAX_MESSAGE_BYTES

    def __init__(self, broker: LocalBroker, filters: tuple[str, ...], will: Message | None) -> None:
        self._broker = broker
        self.filters = list(filters)
        self._will = will
        self._inbox = Inbox()
        self._online = False

    async def __aenter__(self) -> Self:
        self.reconnect()
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._online = False
        self._broker.disconnect(self)

    @property
    def waiting(self) -> tuple[int, int]:
        return len(self._inbox), 0

    @property
    def dropped(self) -> tuple[int, int]:
        return self._inbox.dropped, 0

    @property
    def oldest_s(self) -> float:
        return self._inbox.oldest_s

    def publish(self, message: Message) -> None:
        if self._online:
            self._broker.route(message)

    async def confirm(self, message: Message) -> None:
        if not self._online:
            raise ConnectionError("not connected to the broker")
        self._broker.route(message)

    def subscribe(self, filter: str) -> None:
        self._broker.subscribe(self, filter)

    def unsubscribe(self, filter: str) -> None:
        self._broker.unsubscribe(self, filter)

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        return await self._inbox.take(wait_s)

    def drop_connection(self) -> None:
        """Lose the connection, as when a process dies: the will is published."""
        self._online = False
        self._broker.disconnect(self)
        self.deliver(Disconnected("connection dropped"))
        if self._will is not None:
            self._broker.route(self._will)

    def reconnect(self) -> None:
        """Connect to the broker again."""
        self._online = True
        self._broker.connect(self)

    def deliver(self, arrival: Arrival) -> None:
        self._inbox.put(arrival)

    def subscribes_to(self, topic: str) -> bool:
        return any(covers(filter, topic) for filter in self.filters)


class LocalTopicSource:
    """A source of messages for triggers on a :class:`LocalBroker`."""

    def __init__(self, broker: LocalBroker) -> None:
        self._broker = broker
        self._inbox = TopicInbox()
        self._subscriptions: dict[str, Subscription] = {}

    async def __aenter__(self) -> Self:
        self._broker.sources.append(self)
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._broker.sources.remove(self)

    def subscribe(
        self, subscriptions: Mapping[str, Subscription], stale: Iterable[str] = ()
    ) -> None:
        new = subscriptions.keys() - self._subscriptions.keys()
        self._subscriptions = dict(subscriptions)
        accepted = [filter for filter in new if subscriptions[filter].retained]
        for message in self._broker.retained_on(accepted):
            self.deliver(message)

    async def receive(self, wait_s: float) -> list[TopicMessage]:
        return await self._inbox.take(wait_s)

    def acknowledge(self, messages: Iterable[TopicMessage]) -> None:
        """Forget nothing: messages in memory are delivered once."""

    def deliver(self, message: Message) -> None:
        if any(covers(filter, message.topic) for filter in self._subscriptions):
            self._inbox.put(
                TopicMessage(
                    topic=message.topic,
                    payload=message.payload,
                    qos=1,
                    retain=message.retain,
                    properties=dict(message.properties),
                    reply_to=message.reply_to,
                    correlation=message.correlation,
                )
            )
