"""A fleet for tests: a real broker, and control planes and workers as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from worker.fleet.client import Client, client_name
from worker.fleet.messaging.address import address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.cloudevents import undressed
from worker.fleet.messaging.mqtt import MqttBus

ROOT = Path(__file__).parents[2]
WORKER = [sys.executable, "-m", "worker"]

needs_mosquitto = pytest.mark.skipif(
    shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None,
    reason="mosquitto is not installed",
)


class Ear:
    """Hears everything on a broker, and lets tests wait for it."""

    def __init__(self, url: str) -> None:
        self._bus = MqttBus(address(url), "worker/v1/#")
        self.heard: list[Message] = []
        self._news = asyncio.Condition()

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
            async with self._news:
                self.heard += [one for one in arrivals if isinstance(one, Message)]
                self._news.notify_all()

    def said(self, suffix: str) -> list[Any]:
        """What was said on topics that end so, as JSON."""
        return [
            json.loads(undressed(one.payload))
            for one in self.heard
            if one.topic.endswith(suffix) and one.payload
        ]

    async def until(self, suffix: str, holds: Callable[[Any], bool], seconds: float = 30) -> Any:
        """The first thing that was said on such a topic of which something holds."""

        def found() -> Any:
            return next((one for one in self.said(suffix) if holds(one)), None)

        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: found() is not None)
        return found()

    def statuses(self, run_id: str) -> list[str]:
        """The statuses that a run was said to have, in order."""
        return [one["status"] for one in self.said(f"runs/{run_id}/state")]


class Party:
    """A process of a fleet."""

    def __init__(self, folder: Path, name: str, *arguments: str, **environment: str) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*WORKER, *arguments],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
            )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to leave; its exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(30)

    def said(self) -> list[dict[str, Any]]:
        """What it logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]


class Fleet:
    """A broker, and what was started on it; everything is gone when the ``with`` ends."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder = folder
        self.broker = broker
        self.url = broker.url
        self.parties: list[Party] = []

    def control(self, *arguments: str, store: str = "", name: str = "control") -> Party:
        kept = store or f"sqlite:///{self.folder}/orders.db"
        where = ("--mqtt", self.url, "--store", kept, "--workflows", "graphs/aborts.yaml")
        return self._start(name, "control-plane", *where, *arguments)

    def worker(self, name: str = "north", *arguments: str) -> Party:
        outbox = str(self.folder / f"outbox-{name}")
        where = ("--mqtt", self.url, "--name", name, "--outbox", outbox)
        return self._start(name, "start", *where, *arguments)

    def _start(self, name: str, *arguments: str) -> Party:
        self.parties.append(Party(self.folder, name, *arguments))
        return self.parties[-1]

    def client(self, *, url: str = "", **options: Any) -> Client:
        name = client_name()
        return Client(MqttBus(address(url or self.url), id=name), name=name, **options)

    def ear(self, url: str = "") -> Ear:
        return Ear(url or self.url)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``worker`` on this broker, to its end."""
        return self.alone(*arguments, "--mqtt", self.url)

    def alone(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``worker`` to its end."""
        return subprocess.run(
            [*WORKER, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def close(self) -> None:
        for party in self.parties:
            if party.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    party.send(signal.SIGCONT)
                party.kill()


@contextlib.contextmanager
def fleet(folder: Path, **broker: Any) -> Iterator[Fleet]:
    """A fleet with a broker and nothing else yet."""
    with Broker(**broker) as found:
        made = Fleet(folder, found)
        try:
            yield made
        finally:
            made.close()


@contextlib.asynccontextmanager
async def at(made: Fleet) -> AsyncIterator[tuple[Client, Ear]]:
    """A client of a fleet, and an ear on its broker."""
    async with made.ear() as ear, made.client(wait_s=30) as client:
        await client.summary()
        yield client, ear
