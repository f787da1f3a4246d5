"""Simulated broker: its links take time, repeat and lose messages, and go mute or deaf."""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import replace
from typing import Self

from worker.fleet.messaging.bus import Arrival, Message
from worker.fleet.messaging.in_memory import LocalBroker, LocalBus

_DELAYS_S = (0.0005, 0.001, 0.002, 0.005, 0.02)
_REPEAT_DELAYS_S = (0.001, 0.5, 5.0, 15.0)
REPEATED = 0.03
"""Part of the messages that arrive twice."""


class SimulatedBroker(LocalBroker):
    """Broker that delivers late. Each link keeps the order of its messages, as MQTT does.

    What a participant in ``mute`` sends, and what one in ``deaf`` should receive, is lost.
    ``trace`` is a digest of all messages with their times.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._free_at: dict[tuple[str, str], float] = {}
        self.mute: set[str] = set()
        self.deaf: set[str] = set()
        self.messages = 0
        self.trace = hashlib.sha256()

    def link(self, name: str, *filters: str, will: Message | None = None) -> Link:
        """Create the connection of a participant."""
        return Link(self, name, LocalBus(self, filters, will))

    def send(self, message: Message, sender: str) -> None:
        """Route a message of a participant."""
        now = asyncio.get_running_loop().time()
        self.messages += 1
        self.trace.update(f"{now:.6f} {sender} {message.topic} ".encode() + message.payload)
        if sender not in self.mute:
            self._sender = sender
            self.route(message)

    _sender = ""

    def deliver(self, bus: LocalBus, arrival: Arrival) -> None:
        """Deliver after the delay of the link, now and then twice."""
        name = getattr(bus, "name", "")
        if name in self.deaf:
            return
        loop = asyncio.get_running_loop()
        link = self._sender, name
        at = max(self._free_at.get(link, 0.0), loop.time() + self._chance.choice(_DELAYS_S))
        # Timers of the same moment have no order.
        self._free_at[link] = at + 1e-6
        loop.call_at(at, _arrive, bus, arrival)
        if self._chance.random() < REPEATED and name != OBSERVER:
            loop.call_at(at + self._chance.choice(_REPEAT_DELAYS_S), _arrive, bus, arrival)

    def route(self, message: Message) -> None:
        if message.retain and message.payload:
            self._retained[message.topic] = message
        elif message.retain:
            self._retained.pop(message.topic, None)
        live = replace(message, retain=False)
        for bus in list(self._connected):
            if bus.subscribes_to(message.topic):
                self.deliver(bus, live)


def _arrive(bus: LocalBus, arrival: Arrival) -> None:
    # What is on its way when the connection breaks is lost.
    if bus._online:
        bus.deliver(arrival)


OBSERVER = "observer"
"""Participant that only watches, and gets each message once."""


class Link:
    """Connection of a participant, which can be cut, restored, and end with its process."""

    max_message_bytes = LocalBus.max_message_bytes
    waiting = (0, 0)
    oldest_s = 0.0

    def __init__(self, broker: SimulatedBroker, name: str, bus: LocalBus) -> None:
        self._broker, self.name, self._bus = broker, name, bus
        bus.name = name  # type: ignore[attr-defined]
        self._is_dead = False

    async def __aenter__(self) -> Self:
        await self._bus.__aenter__()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._bus.__aexit__(*reason)

    @property
    def online(self) -> bool:
        return self._bus._online and not self._is_dead

    def publish(self, message: Message) -> None:
        if self.online:
            self._broker.send(message, self.name)

    async def confirm(self, message: Message) -> None:
        if not self.online:
            raise ConnectionError("not connected to the broker")
        self._broker.send(message, self.name)

    def subscribe(self, filter: str) -> None:
        self._bus.subscribe(filter)

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        return await self._bus.receive(wait_s)

    def cut(self) -> None:
        """Break the connection: the broker publishes the will."""
        if self._bus._online:
            self._broker._sender = self.name
            self._bus.drop_connection()

    def restore(self) -> None:
        if not self._bus._online and not self._is_dead:
            self._bus.reconnect()

    def kill(self) -> None:
        """End with the process: nothing that it still does leaves it."""
        self.cut()
        self._is_dead = True
