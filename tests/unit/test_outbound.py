"""Messages that wait for a slow broker: bounded, counted, and followed by what was lost."""

from __future__ import annotations

import asyncio
from typing import Any

from worker.fleet.control.retained_check import RetainedCheck
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import Congestion, Message
from worker.fleet.messaging.end_tasks import end_tasks
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.outbound import Outbound
from worker.util import invariant_checks


def message(size: int) -> Message:
    return Message(topic="a", payload=b"x" * size)


def test_messages_that_wait_are_bounded_by_their_number_and_size() -> None:
    queue = Outbound(max_messages=3, max_bytes=100)
    assert queue.offer(message(500)), "an empty queue takes one of any size"
    assert not queue.offer(message(1))
    queue.get_nowait()
    assert [queue.offer(message(size)) for size in (60, 60, 30, 5, 1)] == [
        True, False, True, True, False,
    ]  # fmt: skip
    for _ in range(3):
        queue.get_nowait()
    assert queue.offer(message(60)) and queue.offer(message(40))


class SlowClient:
    """Connection that sends nothing until the test lets it."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.sent = 0

    async def publish_unacknowledged(self, message: Message) -> None:
        await self.goes_on.wait()
        self.sent += 1


async def test_a_slow_broker_breaks_no_invariant_and_is_noted_once() -> None:
    bus = MqttBus(parse_address("mqtt://127.0.0.1:1"))
    bus._outbox = Outbound(max_messages=3)
    client: Any = SlowClient()
    bus._client = client
    before = invariant_checks.broken.copy()
    for _ in range(10):
        bus.publish(message(1))
    assert bus.dropped == (0, 7) and invariant_checks.broken == before
    assert await bus.receive(0) == [Congestion(dropped=0)]
    sender = asyncio.create_task(bus._send(client, bus._outbox, 1_000_000))
    client.goes_on.set()
    async with asyncio.timeout(30):
        assert await bus.receive() == [Congestion(dropped=7)]
    bus.publish(message(1))
    await bus._outbox.join()
    assert await bus.receive(0) == [] and client.sent == 4
    await end_tasks(sender)


def test_states_are_published_again_after_some_were_lost() -> None:
    check = RetainedCheck()
    check.connected(0.0)
    assert not check.take_cause(1.0)
    check.lost()
    assert check.take_cause(1.0) == "broker.states_dropped"
    assert not check.take_cause(1.0), "once"


def test_the_cause_of_a_publication_is_the_first_one() -> None:
    check = RetainedCheck()
    check.connected(0.0)
    check.connected(10.0)
    assert check.take_cause(20.0) == "broker.forgot_retained_messages"
    check.connected(30.0)
    check.connected(31.0)
    check.lost()
    assert check.take_cause(31.0) == "broker.retained_messages_unknown"
