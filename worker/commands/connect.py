"""How commands reach a control plane."""

from __future__ import annotations

from pathlib import Path

from worker.client import Client
from worker.transports.address import Address, address
from worker.transports.mqtt import MqttBus
from worker.transports.topics import Topics, check_name


def place(
    *, mqtt: str, root: str, ca: Path | None, cert: Path | None, key: Path | None
) -> tuple[Address, Topics]:
    """The broker, and the topics on it. Raises :class:`worker.errors.UsageError`."""
    return address(mqtt, ca=ca, cert=cert, key=key), Topics(check_name(root, "the root"))


def client(broker: Address, topics: Topics) -> Client:
    """A client that is not connected yet."""
    return Client(MqttBus(broker), topics)
