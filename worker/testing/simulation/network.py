"""Simulated broker: its links take time, repeat and lose messages, and go mute or deaf."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from worker.fleet.messaging.bus import Arrival, Message
from worker.fleet.messaging.in_memory import LocalBroker, LocalBus
from worker.fleet.messaging.topics import covers

_DELAYS_S = (0.0005, 0.001, 0.002, 0.005, 0.02)
_REPEAT_DELAYS_S = (0.001, 0.5, 5.0, 15.0)
_SHARE = "$share/"
_Route = tuple[list[LocalBus], list[list[LocalBus]]]
"""The receivers of a message, and the groups of which one member each receives it."""
MAX_AWAITED_S = 20.0
ACKNOWLEDGED_S = 10.0
"""How long a participant waits for the acknowledgement of a message."""
REPEATED = 0.03
"""Part of the messages that arrive twice."""


class SimulatedBroker(LocalBroker):
    """Broker that delivers late. Each link keeps the order of its messages, as MQTT does.

    What a participant in ``mute`` sends, and what one in ``deaf`` should receive, is lost; both
    count faults at this time.
    ``trace`` is a digest of all messages with their times.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._free_at: dict[tuple[str, str], float] = {}
        # By topic, until a connection or a subscription changes.
        self._routes: dict[str, _Route] = {}
        self.mute: Counter[str] = Counter()
        self.deaf: Counter[str] = Counter()
        self._awaited: dict[tuple[str, str], list[asyncio.Event]] = {}
        self.messages = 0
        self.trace = hashlib.sha256()
        self.on_message: Callable[[Message], None] = lambda message: None
        """Is called with each message that a participant sends."""

    def link(self, name: str, *filters: str, will: Message | None = None) -> Link:
        """Create the connection of a participant."""
        return Link(self, name, LocalBus(self, filters, will))

    def send(self, message: Message, sender: str) -> None:
        """Route a message of a participant."""
        now = asyncio.get_running_loop().time()
        self.messages += 1
        self.on_message(message)
        self.trace.update(f"{now:.6f} {sender} {message.topic} ".encode() + message.payload)
        for event in self._awaited.pop((sender, message.topic.rsplit("/", 1)[-1]), ()):
            self.mute[sender] += 1
            event.set()
        if not self.mute[sender]:
            self._sender = sender
            self.route(message)

    async def mute_at(self, sender: str, channel: str) -> None:
        """Wait for a message of a participant on a channel; it and those after it are lost.

        After a time without one, the participant is mute from then on.
        """
        event = asyncio.Event()
        waiting = self._awaited.setdefault((sender, channel), [])
        waiting.append(event)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MAX_AWAITED_S):
                await event.wait()
                return
        waiting.remove(event)
        self.mute[sender] += 1

    _sender = ""

    def deliver(self, bus: LocalBus, arrival: Arrival) -> None:
        """Deliver after the delay of the link, now and then twice."""
        name = getattr(bus, "name", "")
        if self.deaf[name]:
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
        live = replace(message, retain=False) if message.retain else message
        if (route := self._routes.get(message.topic)) is None:
            route = self._routes[message.topic] = self._find_route(message.topic)
        receivers, groups = route
        for bus in receivers:
            self.deliver(bus, live)
        # A broker may give the message to a member that does not answer any more.
        for members in groups:
            self.deliver(self._chance.choice(members), live)

    def _find_route(self, topic: str) -> _Route:
        receivers: list[LocalBus] = []
        groups: dict[str, list[LocalBus]] = {}
        for bus in self._connected:
            for filter in bus.filters:
                if covers(_unshared(filter), topic):
                    members = groups.setdefault(filter, []) if _is_shared(filter) else receivers
                    members.append(bus)
        return receivers, list(groups.values())

    def connect(self, bus: LocalBus) -> None:
        self._routes.clear()
        super().connect(bus)

    def subscribe(self, bus: LocalBus, filter: str) -> None:
        self._routes.clear()
        super().subscribe(bus, filter)

    def unsubscribe(self, bus: LocalBus, filter: str) -> None:
        self._routes.clear()
        super().unsubscribe(bus, filter)

    def disconnect(self, bus: LocalBus) -> None:
        self._routes.clear()
        super().disconnect(bus)


def _is_shared(filter: str) -> bool:
    return filter.startswith(_SHARE)


def _unshared(filter: str) -> str:
    return filter.split("/", 2)[2] if _is_shared(filter) else filter


def _arrive(bus: LocalBus, arrival: Arrival) -> None:
    # What is on its way when the connection breaks is lost.
    if bus._online:
        bus.deliver(arrival)


OBSERVER = "observer"
"""Participant that only watches, and gets each message once."""


class Link:
    """Connection of a participant, which can be cut, restored, and end with its process."""

    max_message_bytes = LocalBus.max_message_bytes
    waiting = dropped = (0, 0)
    oldest_s = 0.0

    def __init__(self, broker: SimulatedBroker, name: str, bus: LocalBus) -> None:
        self._broker, self.name, self._bus = broker, name, bus
        bus.name = name  # type: ignore[attr-defined]
        self.is_dead = False
        self._unsent: list[Message] = []
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    async def __aenter__(self) -> Self:
        await self._bus.__aenter__()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._bus.__aexit__(*reason)

    @property
    def online(self) -> bool:
        return self._bus._online and not self.is_dead

    def publish(self, message: Message) -> None:
        if self.online and not self._goes_on.is_set():
            self._unsent.append(message)
        elif self.online:
            self._broker.send(message, self.name)

    async def confirm(self, message: Message) -> None:
        await self._goes_on.wait()
        if not self.online:
            raise ConnectionError("not connected to the broker")
        self._broker.send(message, self.name)
        if self._broker.mute[self.name] or self._broker.deaf[self.name]:
            await asyncio.sleep(ACKNOWLEDGED_S)
            raise ConnectionError("the broker does not acknowledge a message")

    def subscribe(self, filter: str) -> None:
        self._bus.subscribe(filter)

    def unsubscribe(self, filter: str) -> None:
        self._bus.unsubscribe(filter)

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        if not self._goes_on.is_set():
            await self._goes_on.wait()
        arrivals = await self._bus.receive(wait_s)
        if not self._goes_on.is_set():
            await self._goes_on.wait()
        return arrivals

    def hang(self) -> None:
        """Receive and send nothing until :meth:`go_on`, without the broker noticing."""
        self._goes_on.clear()

    def go_on(self) -> None:
        """Go on: what was about to be sent when it hung is sent now, however old."""
        self._goes_on.set()
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            self.publish(message)

    def cut(self) -> None:
        """Break the connection: the broker publishes the will."""
        if self._bus._online:
            self._broker._sender = self.name
            self._bus.drop_connection()

    def restore(self) -> None:
        if not self._bus._online and not self.is_dead:
            self._bus.reconnect()

    def kill(self) -> None:
        """End with the process: nothing that it still does leaves it."""
        self.cut()
        self.is_dead = True
