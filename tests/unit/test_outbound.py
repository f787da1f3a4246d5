"""Messages that wait for a slow broker: bounded, counted, and followed by what was lost."""

from __future__ import annotations

from typing import Any

from worker.fleet.control.retained_check import RetainedCheck
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import Congestion, Message
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
    """Connection that takes one message at a time."""

    def __init__(self) -> None:
        self.unwritten = 20
        self.sent: list[bytes] = []
        self.on_written: Any = None

    def publish_unacknowledged(self, message: Message) -> None:
        self.sent.append(message.payload)
        self.unwritten = 20

    def take_all(self, bus: MqttBus) -> None:
        while bus.waiting[1]:
            self.unwritten = 0
            self.on_written()


async def test_a_slow_broker_breaks_no_invariant_and_is_noted_once() -> None:
    bus = MqttBus(parse_address("mqtt://127.0.0.1:1"))
    bus._sender._usual.queue = Outbound(max_messages=3)
    client: Any = SlowClient()
    bus._sender.connect(client)
    before = invariant_checks.broken.copy()
    for number in range(10):
        bus.publish(Message(topic="a", payload=b"%d" % number))
    assert bus.dropped == (0, 7) and invariant_checks.broken == before
    assert await bus.receive(0) == [Congestion(dropped=0)]
    client.take_all(bus)
    assert await bus.receive(0) == [Congestion(dropped=7)]
    bus.publish(message(1))
    client.take_all(bus)
    assert await bus.receive(0) == [] and client.sent == [b"0", b"1", b"2", b"x"]


async def test_others_wait_behind_few_parts_of_a_large_content() -> None:
    bus = MqttBus(parse_address("mqtt://127.0.0.1:1"))
    client: Any = SlowClient()
    bus._sender.connect(client)
    client.unwritten = 2
    bus.publish(Message(topic="a", payload=b"part", bulk=True))
    assert not client.sent
    bus.publish(Message(topic="a", payload=b"other"))
    assert client.sent == [b"other"]


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
