"""Routes of the simulated broker follow the connections and their filters."""

from __future__ import annotations

import random

from worker.fleet.messaging.bus import Arrival, Message
from worker.fleet.messaging.in_memory import LocalBus
from worker.testing.simulation.network import SimulatedBroker


class PromptBroker(SimulatedBroker):
    """A broker that only counts what it delivers."""

    delivered = 0

    def deliver(self, bus: LocalBus, arrival: Arrival) -> None:
        self.delivered += isinstance(arrival, Message)


async def test_a_message_goes_to_those_who_are_connected_and_subscribed_by_now() -> None:
    broker = PromptBroker(random.Random(1))
    receiver, sender = broker.link("receiver"), broker.link("sender")

    def delivered() -> int:
        before = broker.delivered
        sender.publish(Message(topic="a", payload=b"1"))
        return broker.delivered - before

    async with receiver, sender:
        assert delivered() == 0
        receiver.subscribe("a")
        assert delivered() == 1
        receiver.cut()
        assert delivered() == 0
        receiver.restore()
        assert delivered() == 1
