"""Subscriptions of a bus over MQTT: kept as long as somebody has them, on each connection."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.fleets import needs_mosquitto
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Connected, Message
from worker.fleet.messaging.mqtt import MqttBus


class ChangingClient:
    """A client during whose requests the filters of its bus change."""

    def __init__(self, bus: MqttBus) -> None:
        self.bus = bus
        self.filters = set[str]()

    async def subscribe(self, filter: str, **options: Any) -> tuple[int]:
        self.filters.add(filter)
        if filter == "a":
            self.bus.unsubscribe("a")
            self.bus.unsubscribe("b")
            self.bus.subscribe("c")
        return (1,)

    async def unsubscribe(self, filter: str) -> None:
        self.filters.discard(filter)
        if filter == "a":
            self.bus.subscribe("d")


async def test_filters_that_change_while_a_connection_begins() -> None:
    bus = MqttBus(parse_address("mqtt://127.0.0.1:1"), "a", "b")
    client: Any = ChangingClient(bus)
    await bus._subscribe_to_all(client)
    assert client.filters == set(bus._filters) == {"c", "d"}


@needs_mosquitto
async def test_a_filter_holds_until_it_was_removed_as_often_as_it_was_added() -> None:
    with Broker(kind="mosquitto") as broker:
        async with asyncio.timeout(60), MqttBus(parse_address(broker.url), "end/+") as bus:
            while not any(isinstance(arrival, Connected) for arrival in await bus.receive()):
                pass
            bus.subscribe("a")
            bus.subscribe("a")
            bus.unsubscribe("a")
            assert await published(bus, "a", "end/1") == ["a", "end/1"]
            bus.unsubscribe("a")
            assert await published(bus, "a", "end/2") == ["end/2"]
            assert set(bus._filters) == {"end/+"}, "and the next connection has it neither"


async def published(bus: MqttBus, *topics: str) -> list[str]:
    """Publish on topics after the requests before them; return the topics received."""
    await asyncio.gather(*bus._tasks)
    for topic in topics:
        await bus.confirm(Message(topic=topic, payload=b"{}"))
    received: list[str] = []
    while topics[-1] not in received:
        received += [item.topic for item in await bus.receive() if isinstance(item, Message)]
    return received
