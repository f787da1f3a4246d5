"""Messages through a topic trigger while workers, planes and the broker end and start again.

    python -m tests.support.trigger_chaos --messages 10000 --seed 1 [--kill-broker] [--sqlite]

5 % of the messages are repeated and 2 % are garbage. Every distinct message must have exactly one
order, and garbage dead letters with their reasons. Each process ends several times while messages
are published, planes and workers by SIGKILL. The broker ends by SIGTERM and stores its sessions.
With --kill-broker it is killed, and its acknowledgements promise nothing: each message is repeated
until its publisher sees the state of its order.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml
from sqlalchemy import select

from tests.support.databases import Postgres, postgres_binaries
from tests.support.fleets import Fleet, FleetProcess
from worker.fleet.control.store import tables
from worker.fleet.control.store.deployments import trigger_id
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.firing import order_id_of
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus

TOPIC = "chaos/{}/in"
PROJECT = {
    "workflows": {
        "chaos": {
            "name": "Chaos",
            "jobs": {"keep": {"adaptor": "common", "body": "fn(state => ({ id: state.data.id }))"}},
            "triggers": {"in": {"type": "mqtt", "topic": "chaos/+/in", "idempotency": "$.id"}},
            "edges": {"in->keep": {"source_trigger": "in", "target_job": "keep", "condition_type": "always"}},
        }
    }
}  # fmt: skip
GARBAGE = (b"{", b"\xff\xff", b'{"id": null}', b"[1, 2", b'{"no": "id"}')
REASONS = {"not_json", "no_key"}
WORKFLOW_TRIGGER = trigger_id("default", "Chaos", "in")
QUIET_S = 240.0
"""How long the fleet may need without any progress."""
PER_ROUND = 2500
"""Messages for each time that all processes end."""
PROGRESS_S = 20.0
"""How long a fault waits for orders after the one before: a fleet that starts would see no other."""


class Publisher:
    """Publishes messages until each is acknowledged, or with ``confirmed`` until it has an order."""

    def __init__(self, url: str, *, confirmed: bool) -> None:
        filters = ("worker/v1/orders/+/state",) if confirmed else ()
        self._bus = MqttBus(parse_address(url), *filters)
        self._confirmed = confirmed
        self._waiting: dict[str, asyncio.Event] = {}

    async def __aenter__(self) -> Publisher:
        await self._bus.__aenter__()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._bus.__aexit__()

    async def _read(self) -> None:
        while True:
            for arrival in await self._bus.receive():
                if isinstance(arrival, Message):
                    event = self._waiting.get(arrival.topic.split("/")[3])
                    if event is not None:
                        event.set()

    async def send(self, topic: str, payload: bytes, id: str | None) -> None:
        message = Message(topic=topic, payload=payload)
        if id is None or not self._confirmed:
            await self._until_acknowledged(message)
            return
        seen = self._waiting.setdefault(order_id_of(WORKFLOW_TRIGGER, id), asyncio.Event())
        while not seen.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self._until_acknowledged(message)
                    await seen.wait()

    async def _until_acknowledged(self, message: Message) -> None:
        while True:
            try:
                return await self._bus.confirm(message)
            except ConnectionError:
                await asyncio.sleep(0.05)


def messages(count: int, rng: random.Random) -> list[tuple[str, bytes, str | None]]:
    """Return topics, contents and ids: 5 % repeated ones, 2 % garbage."""
    made: list[tuple[str, bytes, str | None]] = []
    for number in range(count):
        topic = TOPIC.format(rng.choice("abc"))
        draw = rng.random()
        if draw < 0.02:
            made.append((topic, rng.choice(GARBAGE), None))
        elif draw < 0.07 and (good := [each for each in made[-500:] if each[2]]):
            made.append(rng.choice(good))
        else:
            id = f"m{number}"
            made.append((topic, json.dumps({"id": id}).encode(), id))
    return made


class Faults:
    """Ends and starts each process, and the broker, in ``rounds`` of random order."""

    def __init__(
        self, fleet: Fleet, store: str, rng: random.Random, *, planes: int, kill: bool, rounds: int
    ) -> None:
        self._fleet, self._store, self._rng = fleet, store, rng
        self._planes, self._kill, self._rounds = planes, kill, rounds
        self._running: dict[str, FleetProcess] = {}
        self._seen = 0
        self.counts: Counter[str] = Counter()

    def start_all(self) -> None:
        for name in [f"plane{number}" for number in range(self._planes)] + ["north1", "south2"]:
            self._start(name)

    def _start(self, name: str) -> None:
        shared = ("--shared",) if self._planes > 1 else ()
        if name.startswith("plane"):
            self._running[name] = self._fleet.control(*shared, store=self._store, name=name)
        else:
            self._running[name] = self._fleet.worker(name)

    @property
    def part(self) -> float:
        """The part of the faults that has happened, with the one that comes next."""
        return (self.counts.total() + 1) / (self._rounds * (len(self._running) + 1))

    async def run(self) -> None:
        for _ in range(self._rounds):
            names = [*self._running, "broker"]
            self._rng.shuffle(names)
            for name in names:
                await self._progress()
                await asyncio.sleep(self._rng.uniform(0, 1.0))
                await (self._end_broker() if name == "broker" else self._end(name))
                self.counts[name] += 1

    async def _progress(self) -> None:
        """Wait for orders since the last fault."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROGRESS_S):
                while (seen := sum(_orders(self._store).values())) <= self._seen:
                    await asyncio.sleep(0.1)
                self._seen = seen

    async def _end_broker(self) -> None:
        if self._kill:
            self._fleet.broker.kill()
        else:
            self._fleet.broker.stop()
        await asyncio.sleep(self._rng.uniform(0, 0.5))
        await asyncio.to_thread(self._fleet.broker.start)

    async def _end(self, name: str) -> None:
        await asyncio.to_thread(self._running[name].kill)
        await asyncio.sleep(self._rng.uniform(0, 0.5))
        self._start(name)


async def check(folder: Path, options: argparse.Namespace, store_url: str, planes: int) -> str:
    rng = random.Random(options.seed)
    file = folder / "project.yaml"
    file.write_text(yaml.safe_dump(PROJECT))
    policy = folder / "policy.yaml"
    policy.write_text("{}")
    with Broker(kind="mosquitto", persistence=folder) as broker:
        fleet = Fleet(folder, broker)
        rounds = max(1, options.messages // PER_ROUND)
        faults = Faults(
            fleet, store_url, rng, planes=planes, kill=options.kill_broker, rounds=rounds
        )
        try:
            faults.start_all()
            async with fleet.client(
                url=broker.url.replace("//", "//operator@"), wait_s=60
            ) as client:
                await client.deploy(file)
            made = messages(options.messages, rng)
            began = time.monotonic()
            async with Publisher(broker.url, confirmed=options.kill_broker) as publisher:
                # A message before the first subscription reaches nobody.
                await _first(publisher, store_url)
                await asyncio.gather(faults.run(), _publish(publisher, made, faults))
                taken_s = time.monotonic() - began
                text = await _settled(made, store_url, killed=options.kill_broker)
            ended = ", ".join(f"{name} {count}" for name, count in sorted(faults.counts.items()))
            return f"{text}; published in {taken_s:.0f} s; ended: {ended}"
        finally:
            fleet.close()


async def _first(publisher: Publisher, store_url: str) -> None:
    async with asyncio.timeout(60):
        while "first" not in _orders(store_url):
            await asyncio.wait_for(
                publisher._until_acknowledged(
                    Message(topic="chaos/a/in", payload=b'{"id": "first"}')
                ),
                60,
            )
            await asyncio.sleep(0.2)


async def _publish(
    publisher: Publisher, made: list[tuple[str, bytes, str | None]], faults: Faults
) -> None:
    queue = iter(enumerate(made))

    async def send() -> None:
        for number, (topic, payload, id) in queue:
            # A part of the messages for each fault, so that each meets messages on their way.
            while number > faults.part * len(made):
                await asyncio.sleep(0.05)
            await publisher.send(topic, payload, id)

    await asyncio.gather(*(send() for _ in range(64)))


def _orders(store_url: str) -> Counter[str]:
    """Count the orders by the ids of their messages."""
    store = Store(store_url)
    with store.read() as connection:
        statement = select(tables.DATACLIPS.c.text).where(tables.DATACLIPS.c.id == "input")
        texts = [json.loads(text) for text in connection.execute(statement).scalars()]
    store.close()
    return Counter(str(text["data"]["id"]) for text in texts)


def _dead(store_url: str) -> list[tuple[str, str]]:
    store = Store(store_url)
    with store.read() as connection:
        letters = tables.DEAD_LETTERS.c
        rows = connection.execute(select(letters.reason, letters.content)).all()
    store.close()
    return [(row.reason, row.content) for row in rows]


async def _settled(
    made: list[tuple[str, bytes, str | None]], store_url: str, *, killed: bool
) -> str:
    ids = {id for _, _, id in made if id} | {"first"}
    garbage = sum(id is None for _, _, id in made)
    last, since = -1, time.monotonic()
    while True:
        orders, dead = _orders(store_url), _dead(store_url)
        # A killed broker may lose garbage that nobody repeats.
        if orders.keys() >= ids and (killed or len(dead) >= garbage):
            break
        progress = len(orders) + len(dead)
        if progress != last:
            last, since = progress, time.monotonic()
        missing = sorted(ids - orders.keys())
        assert time.monotonic() - since < QUIET_S, (
            f"{len(missing)} messages have no order: {missing[:5]}; {len(dead)} of {garbage} dead letters"
        )
        await asyncio.sleep(0.5)
    twice = {id: count for id, count in orders.items() if count != 1}
    assert not twice, f"messages with several orders: {twice}"
    assert orders.keys() == ids, f"orders of nobody: {orders.keys() - ids}"
    assert killed or len(dead) == garbage, f"{len(dead)} dead letters for {garbage} of garbage"
    assert {reason for reason, _ in dead} <= REASONS
    return f"{len(ids)} messages, each with one order; {len(dead)} dead letters for {garbage} of garbage"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kill-broker", action="store_true")
    parser.add_argument("--sqlite", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        url, planes = f"sqlite:///{folder}/orders.db", 1
        if not options.sqlite and (path := postgres_binaries()):
            url, planes = stack.enter_context(Postgres(path)).empty(), 2
        print(asyncio.run(check(Path(folder), options, url, planes)))


if __name__ == "__main__":
    main()
