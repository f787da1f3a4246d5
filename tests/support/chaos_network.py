"""Faults of a network for chaos tests: a proxy that breaks, and a participant that repeats."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass
from typing import Self

from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus

LARGE = b'{"number":1,"runs":[' + b"0," * 500_000 + b"0]}"
"""A message of a megabyte, which nobody sends."""


@dataclass(slots=True)
class Faults:
    """What a direction of the connections does at present; ``lost`` bytes are gone for good."""

    lost: bool = False
    held: asyncio.Event | None = None


class Proxy:
    """A TCP proxy to the broker, whose connections the test can break, delay, or cut one way."""

    def __init__(self, port: int) -> None:
        self._broker = port
        self._open: set[asyncio.StreamWriter] = set()
        self.up, self.down = Faults(), Faults()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections at once, without a DISCONNECT."""
        for writer in list(self._open):
            writer.transport.abort()

    async def cut_one_way(self, faults: Faults, duration_s: float) -> None:
        """Lose all that one direction carries for a time; then the connections break."""
        faults.lost = True
        await asyncio.sleep(duration_s)
        faults.lost = False
        # What was lost leaves a gap in the stream.
        self.cut()

    async def delay(self, duration_s: float) -> None:
        """Hold all messages back for a time, in both directions."""
        self.up.held = self.down.held = asyncio.Event()
        held = self.up.held
        await asyncio.sleep(duration_s)
        self.up.held = self.down.held = None
        held.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward = await asyncio.open_connection("127.0.0.1", self._broker)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, onward[1]}
        with contextlib.suppress(asyncio.CancelledError):  # the test is over
            await asyncio.gather(
                _pump(reader, onward[1], self.up), _pump(onward[0], writer, self.down)
            )
        self._open -= {writer, onward[1]}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: Faults) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            if faults.held is not None:
                await faults.held.wait()
            if not faults.lost:
                writer.write(data)
                await writer.drain()
    writer.transport.abort()


class Duplicator:
    """A participant that publishes some messages of others again, later: repeated, reordered.

    Now and then it publishes a report that is too large, and cannot be read, for a worker.
    """

    FILTERS = ("worker/v1/requests/+", *(f"worker/v1/workers/+/{channel}" for channel in (
        "status", "claim", "start", "reports", "beat", "release", "fetch", "chunk", "rsp", "cmd",
    )))  # fmt: skip

    def __init__(self, url: str, chance: random.Random, share: float) -> None:
        self._bus = MqttBus(parse_address(url), *self.FILTERS)
        self._chance = chance
        self._share = share
        self._mine: Counter[tuple[str, bytes]] = Counter()
        self.repeated = 0
        self.oversized = 0

    async def run(self) -> None:
        async with self._bus:
            while True:
                for message in await self._bus.receive():
                    if isinstance(message, Message) and not message.retain:
                        self._repeat(message)

    def _repeat(self, message: Message) -> None:
        key = (message.topic, message.payload)
        if self._mine[key]:
            self._mine[key] -= 1
        elif self._chance.random() < self._share:
            self._mine[key] += 1
            self.repeated += 1
            pause_s = self._chance.choice((0.0, 0.05, 0.5, self._chance.uniform(0, 5)))
            asyncio.get_running_loop().call_later(pause_s, self._bus.publish, message)
        elif message.topic.endswith("/reports") and self._chance.random() < 0.002:
            large = Message(topic=message.topic, payload=LARGE)
            self._mine[message.topic, LARGE] += 1
            self.oversized += 1
            self._bus.publish(large)
