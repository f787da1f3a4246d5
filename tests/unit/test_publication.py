"""Publication of what services of triggers commit: after their callers, and with errors reported."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.control_plane_harness import TOPICS, ControlPlaneHarness
from tests.support.dashboard_fleet import DiscardingLog
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.triggers.firing_queue import FiringQueue
from worker.fleet.control.triggers.order_result import Fired
from worker.fleet.control.unit_of_work import Outgoing
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker

STATE = Message(topic="state", payload=b"{}")


async def test_a_caller_is_answered_first_and_an_error_of_publishing_ends_the_control_plane(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = [Fired(order_id="o")], Outgoing(messages=[STATE])
    monkeypatch.setattr(harness.processor, "fire", lambda *_: results)
    steps: list[str] = []

    def encode(message: Message) -> Message:
        if message is STATE:
            steps.append("published")
            raise ZeroDivisionError
        return message

    log: Any = DiscardingLog()
    bus = LocalBroker().bus(*TOPICS.for_control())
    plane = ControlPlane(bus, harness.processor, topics=TOPICS, log=log, encode=encode)
    queue = FiringQueue(plane.fire)

    async def call() -> None:
        # What connecting publishes comes after it, and takes it along.
        await plane.connected.wait()
        firing: Any = type("Call", (), {"input": b""})()
        await queue.fire(firing)
        steps.append("answered")
        await asyncio.Event().wait()

    plane.add_service(queue.run)
    plane.add_service(call)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(30):
            await plane.run()
    assert steps == ["answered", "published"]
