"""Connection of a command to a fleet: the broker, the topics on it and the client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from worker.cli.entry import EXIT_INTERRUPTED
from worker.errors import UsageError
from worker.fleet.control_errors import NoAnswer, RefusedByBroker
from worker.fleet.messaging.address import Address, parse_address
from worker.fleet.messaging.packets import MAX_PACKET_BYTES, MIN_PACKET_BYTES
from worker.fleet.messaging.topics import Topics, check_name

if TYPE_CHECKING:
    from worker.fleet.client import Client

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConnection:
    """Address of a broker, the topics of a fleet on it, and how long a reply may take.

    ``max_packet_bytes`` is the largest MQTT packet to send and to receive.
    """

    address: Address
    topics: Topics
    reply_timeout_s: float = 10.0
    max_packet_bytes: int = MAX_PACKET_BYTES

    def __str__(self) -> str:
        return f"{self.address} · {self.topics.root}"

    def client(self, *, notify: bool = False) -> Client:
        """Build a client that is not connected yet; ``notify`` prints what it waits for."""
        # Commands that can do without a fleet have its options too, and most runs of them do.
        from worker.fleet.client import Client, client_name
        from worker.fleet.messaging.mqtt import MqttBus

        name = client_name()
        bus = MqttBus(self.address, id=name, max_packet_bytes=self.max_packet_bytes)
        user = self.address.client_user
        return Client(
            bus,
            self.topics,
            wait_s=self.reply_timeout_s,
            name=name,
            user=user,
            on_wait=self._print_wait if notify else None,
        )

    def _print_wait(self) -> None:
        text = f"waiting up to {self.reply_timeout_s:g} s for a control plane on {self.address}"
        print(f"{text} (--reply-timeout)", file=sys.stderr)

    def run(self, request: Callable[[Client], Awaitable[int]]) -> int:
        """Connect a client for one request and return its exit code, that of Ctrl-C included."""
        try:
            return self.request(request)
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED

    def request(self, request: Callable[[Client], Awaitable[T]]) -> T:
        """Connect a client for one request and return its result."""

        async def connected() -> T:
            async with self.client(notify=True) as client:
                return await request(client)

        with self.remedies():
            return asyncio.run(connected())

    @contextmanager
    def remedies(self) -> Iterator[None]:
        """Add the broker and a remedy to the error of a fleet that does not answer."""
        try:
            yield
        except RefusedByBroker:
            raise
        except NoAnswer as error:
            named = str(self.address) in str(error)
            broker = "" if named else f"the broker is {self.address}: "
            hint = f"{broker}--mqtt names another broker, worker dev starts a fleet"
            raise NoAnswer(f"{error} ({hint})") from error


def parse(
    mqtt: str,
    topic_prefix: str,
    *,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    packet_limit_mb: float | None,
    reply_timeout_s: float,
) -> BrokerConnection:
    """Parse the options of a broker. Raises :class:`UsageError` for an invalid address."""
    return BrokerConnection(
        address=parse_address(mqtt, ca=ca, cert=cert, key=key),
        topics=Topics(check_name(topic_prefix, "--topic-prefix")),
        reply_timeout_s=reply_timeout_s,
        max_packet_bytes=_packet_bytes(packet_limit_mb),
    )


def _packet_bytes(limit_mb: float | None) -> int:
    limit_bytes = MAX_PACKET_BYTES if limit_mb is None else int(limit_mb * 2**20)
    if limit_bytes < MIN_PACKET_BYTES:
        raise UsageError(f"--packet-limit must be {MIN_PACKET_BYTES / 1024:g} kB or more")
    return min(MAX_PACKET_BYTES, limit_bytes)
