"""A fleet for tests: a real broker, and control planes and workers as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.command import ROOT, WORKER, start_worker
from worker.fleet.client import Client, client_name
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.cloudevents import unwrap
from worker.fleet.messaging.mqtt import MqttBus

needs_mosquitto = pytest.mark.broker


class Listener:
    """A subscriber to all messages on a broker; tests can wait for one."""

    def __init__(self, url: str) -> None:
        self._bus = MqttBus(parse_address(url), "worker/v1/#")
        self.received: list[Message] = []
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self._bus.__aenter__()
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._bus.__aexit__()

    async def _listen(self) -> None:
        while True:
            arrivals = await self._bus.receive()
            async with self._changed:
                self.received += [one for one in arrivals if isinstance(one, Message)]
                self._changed.notify_all()

    def messages(self, suffix: str) -> list[Any]:
        """Return the messages on topics with a suffix, as JSON."""
        return [
            json.loads(unwrap(one.payload))
            for one in self.received
            if one.topic.endswith(suffix) and one.payload
        ]

    async def until(self, suffix: str, holds: Callable[[Any], bool], seconds: float = 120) -> Any:
        """Wait for a message on such a topic that fulfils a condition, and return it."""

        def first() -> Any:
            return next((message for message in self.messages(suffix) if holds(message)), None)

        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: first() is not None)
        return first()

    def statuses(self, run_id: str) -> list[str]:
        """Return the published statuses of a run, in order."""
        return [one["status"] for one in self.messages(f"runs/{run_id}/state")]


class FleetProcess:
    """A process of a fleet, by default of the command ``worker``."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *arguments: str,
        program: Sequence[str] = WORKER,
        **environment: str,
    ) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, *arguments],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the process as a crash would."""
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> int:
        """Terminate the process and return its exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(60)

    def log_entries(self) -> list[dict[str, Any]]:
        """Return the log entries of the process."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]


class Fleet:
    """A broker and the processes that were started on it; all end with the ``with`` block."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.url = broker.url
        self.processes: list[FleetProcess] = []

    def control(self, *arguments: str, store: str = "", name: str = "control") -> FleetProcess:
        kept = store or f"sqlite:///{self.folder}/orders.db"
        where = ("--mqtt", self.url, "--store", kept, "--workflows", "graphs/aborts.yaml")
        return self._start(name, "control-plane", *where, *arguments)

    def worker(self, name: str = "north", *arguments: str) -> FleetProcess:
        outbox = str(self.folder / f"outbox-{name}")
        where = ("--mqtt", self.url, "--name", name, "--outbox", outbox)
        return self._start(name, "start", *where, *arguments)

    def _start(self, name: str, *arguments: str) -> FleetProcess:
        self.processes.append(FleetProcess(self.folder, name, *arguments))
        return self.processes[-1]

    def client(self, *, url: str = "", **options: Any) -> Client:
        name = client_name()
        address = parse_address(url or self.url)
        bus = MqttBus(address, id=name)
        return Client(bus, name=name, user=address.client_user, **options)

    def listener(self, url: str = "") -> Listener:
        return Listener(url or self.url)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``worker`` on this broker, to its end."""
        return self.alone(*arguments, "--mqtt", self.url, "--reply-timeout", "60")

    def alone(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``worker`` to its end."""
        return start_worker(*arguments, cwd=ROOT)

    def close(self) -> None:
        for process in self.processes:
            if process.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send(signal.SIGCONT)
                process.kill()


@contextlib.contextmanager
def fleet(folder: Path, **broker: Any) -> Iterator[Fleet]:
    """Provide a fleet with a broker and no other processes."""
    with Broker(**broker) as started:
        made = Fleet(folder, started)
        try:
            yield made
        finally:
            made.close()


@contextlib.asynccontextmanager
async def at(made: Fleet) -> AsyncIterator[tuple[Client, Listener]]:
    """Provide a client of a fleet, and a listener on its broker."""
    async with made.listener() as listener, made.client(wait_s=60) as client:
        await client.summary()
        yield client, listener
