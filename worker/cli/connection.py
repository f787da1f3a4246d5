"""Where a command finds the others: a broker, and the topics on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worker.fleet.client import Client, client_name
from worker.fleet.messaging.address import Address, parse_address
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.topics import Topics, check_name


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConnection:
    """Where a party is on the bus."""

    address: Address
    topics: Topics

    def __str__(self) -> str:
        return f"{self.address} · {self.topics.root}"

    def client(self, *, wait_s: float = 10.0) -> Client:
        """A client that is not connected yet."""
        name = client_name()
        bus = MqttBus(self.address, id=name)
        return Client(bus, self.topics, wait_s=wait_s, name=name)


def place(
    *, mqtt: str, root: str, ca: Path | None, cert: Path | None, key: Path | None
) -> BrokerConnection:
    """The place that options name. Raises :class:`worker.errors.UsageError`."""
    topics = Topics(check_name(root, "--root"))
    return BrokerConnection(address=parse_address(mqtt, ca=ca, cert=cert, key=key), topics=topics)
