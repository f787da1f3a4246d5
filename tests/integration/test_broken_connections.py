"""Connections that break leave nothing behind that harms the next one."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from tests.support.chaos_network import Proxy
from tests.support.fleets import needs_mosquitto
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Connected, Message
from worker.fleet.messaging.mqtt import MqttBus

pytestmark = [pytest.mark.slow, needs_mosquitto]


async def test_a_socket_is_closed_with_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next one gets its number, which the loop still watches, and receives nothing."""
    problems: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context))
    monkeypatch.setattr("worker.fleet.messaging.mqtt.backoff_s", lambda failed: 0.0)
    with Broker(kind="mosquitto") as broker:
        async with Proxy(broker.port) as proxy, asyncio.timeout(60):
            address = parse_address(f"mqtt://127.0.0.1:{proxy.port}")
            async with MqttBus(address, "a/#", id="same") as bus:
                connections = 0
                while connections < 40:
                    for arrival in await bus.receive():
                        if isinstance(arrival, Connected):
                            connections += 1
                            # What is being written or read meanwhile breaks in other places.
                            for number in range(connections % 7):
                                bus.publish(Message(topic="a/b", payload=bytes(20_000 * number)))
                            await asyncio.sleep(0)
                            proxy.cut()
                    gc.collect()
    assert problems == []
