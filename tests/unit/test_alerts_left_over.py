"""A control plane takes from its database the alerts that had no room in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.control_plane_harness import TOPICS, ControlPlaneHarness
from tests.support.dashboard_fleet import DiscardingLog
from worker.fleet.control import alerts, publication, service, state_publication
from worker.fleet.control.alerts import AlertNotifier
from worker.fleet.control.service import ControlPlane
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker, LocalBus
from worker.fleet.messaging.state_messages import Alert

LOG: Any = DiscardingLog()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (alerts, state_publication, publication):
        monkeypatch.setattr(module, "MAX_WAITING", 2)
    monkeypatch.setattr(service, "TICK_S", 0.001)


async def never_delivered(url: str, body: bytes) -> None:
    raise OSError("no route")


async def published(bus: LocalBus, number: int) -> list[str]:
    ids: list[str] = []
    while len(ids) < number:
        messages = [each for each in await bus.receive() if isinstance(each, Message)]
        ids += [wire.decode(Alert, message.payload).run_id for message in messages]
    return ids


@pytest.mark.usefixtures("few")
async def test_those_behind_the_oldest_of_a_dead_webhook_are_published_after_a_restart(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "_post", never_delivered)
    for number in range(9):
        harness.ended(f"o{number}", reason="exception")
        harness.pass_time(1)
    for number in range(4):
        harness.processor.mark_delivered(f"o{number}-1", {"bus"})
    broker = LocalBroker()
    plane = ControlPlane(
        broker.bus(*TOPICS.for_control()), harness.processor, topics=TOPICS, log=LOG,
        notifier=AlertNotifier(webhook="http://dead"),
    )  # fmt: skip
    async with broker.bus(TOPICS.alerts) as follower, asyncio.timeout(30):
        task = asyncio.create_task(plane.run())
        ids = await published(follower, 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sorted(ids) == [f"o{number}-1" for number in range(4, 9)]
