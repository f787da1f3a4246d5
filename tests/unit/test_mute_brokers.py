"""Brokers that accept a connection and answer nothing are tried less and less often."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import aiomqtt
import pytest

from tests.support.dashboard_fleet import DiscardingLog
from worker.fleet.messaging import mqtt, mqtt_topic_source
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.mqtt_topic_source import MqttTopicSource
from worker.fleet.messaging.reconnect_pauses import STABLE_S
from worker.fleet.messaging.topic_source import Subscription
from worker.util.machine_clock import Machine, replaced

ADDRESS = parse_address("mqtt://127.0.0.1")


class MuteBroker:
    """A broker, and its client, where a packet is not answered; each wait takes a long time."""

    identifies_subscriptions = True

    def __init__(self, unanswered: str) -> None:
        self.unanswered = unanswered
        self.now_s = 0.0

    async def __aenter__(self) -> Self:
        self._wait("CONNECT")
        return self

    async def __aexit__(self, *reason: object) -> None: ...

    async def subscribe(self, filter: str, **options: Any) -> None:
        self._wait("SUBSCRIBE")

    def _wait(self, packet: str) -> None:
        if packet == self.unanswered:
            self.now_s += STABLE_S + 1
            raise aiomqtt.MqttError("Operation timed out")


class WarningLog(DiscardingLog):
    """A log that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, event: str, **keys: Any) -> None:
        self.warnings.append(event)


@pytest.fixture(params=["CONNECT", "SUBSCRIBE"])
def broker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MuteBroker:
    broker = MuteBroker(request.param)
    monkeypatch.setattr(MqttBus, "_connection", lambda self: broker)
    monkeypatch.setattr(MqttTopicSource, "_new_client", lambda self: broker)
    return broker


async def counted(connection: Any, module: Any, broker: MuteBroker) -> list[int]:
    """Return the failures that the first pauses of a connection are computed from."""
    failures, enough = list[int](), asyncio.Event()

    def pause_s(failed: int) -> float:
        failures.append(failed)
        if len(failures) == 4:
            enough.set()
        return 0.0

    clock = Machine(monotonic_ns=lambda: int(broker.now_s * 1e9))
    with pytest.MonkeyPatch.context() as patch, replaced(clock):
        patch.setattr(module, "backoff_s", pause_s)
        async with connection, asyncio.timeout(60):
            await enough.wait()
    return failures[:4]


async def test_a_bus_backs_off_from_a_broker_that_does_not_answer(broker: MuteBroker) -> None:
    assert await counted(MqttBus(ADDRESS, "#"), mqtt, broker) == [1, 2, 3, 4]


async def test_a_source_backs_off_from_a_broker_that_does_not_answer(broker: MuteBroker) -> None:
    log: Any = WarningLog()
    source = MqttTopicSource(ADDRESS, id="triggers", log=log)
    source.subscribe({"#": Subscription(qos=1)})
    assert await counted(source, mqtt_topic_source, broker) == [1, 2, 3, 4]
    assert log.warnings == ["topics.disconnected"]
