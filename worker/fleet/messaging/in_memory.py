"""The bus without a broker: clients, a control plane and workers in one process."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Self

from worker.fleet.messaging.bus import Arrival, Connected, Disconnected, Inbox, Message


class LocalBroker:
    """Carries messages between the parties of one event loop, with retained ones and wills."""

    def __init__(self) -> None:
        self._parties: list[LocalBus] = []
        self._retained: dict[str, Message] = {}

    def bus(self, *filters: str, will: Message | None = None) -> LocalBus:
        """A place on the bus for a party that hears what matches ``filters``."""
        return LocalBus(self, filters, will)

    def join(self, party: LocalBus) -> None:
        self._parties.append(party)
        party.deliver(Connected())
        self.tell_retained(party, party.filters)

    def tell_retained(self, party: LocalBus, filters: Iterable[str]) -> None:
        for message in self._retained.values():
            if any(matches(filter, message.topic) for filter in filters):
                party.deliver(message)

    def leave(self, party: LocalBus) -> None:
        if party in self._parties:
            self._parties.remove(party)

    def route(self, message: Message) -> None:
        if message.retain and message.payload:
            self._retained[message.topic] = message
        elif message.retain:
            self._retained.pop(message.topic, None)
        told = replace(message, retain=False)
        for party in self._parties:
            if party.hears(message.topic):
                party.deliver(told)


class LocalBus:
    """One party's place on a :class:`LocalBroker`."""

    def __init__(self, broker: LocalBroker, filters: tuple[str, ...], will: Message | None) -> None:
        self._broker = broker
        self.filters = list(filters)
        self._will = will
        self._inbox = Inbox()
        self._joined = False

    async def __aenter__(self) -> Self:
        self._joined = True
        self._broker.join(self)
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._joined = False
        self._broker.leave(self)

    def publish(self, message: Message) -> None:
        if self._joined:
            self._broker.route(message)

    def subscribe(self, filter: str) -> None:
        self.filters.append(filter)
        self._broker.tell_retained(self, [filter])

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        return await self._inbox.take(wait_s)

    def cut(self) -> None:
        """Lose the connection, as when a process dies: the will is published."""
        self._joined = False
        self._broker.leave(self)
        self.deliver(Disconnected("cut"))
        if self._will is not None:
            self._broker.route(self._will)

    def mend(self) -> None:
        """Have the connection back."""
        self._joined = True
        self._broker.join(self)

    def deliver(self, arrival: Arrival) -> None:
        self._inbox.put(arrival)

    def hears(self, topic: str) -> bool:
        return any(matches(filter, topic) for filter in self.filters)


def matches(filter: str, topic: str) -> bool:
    """Whether a topic filter of MQTT (with ``+`` and ``#``) covers a topic."""
    wanted, levels = filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)
