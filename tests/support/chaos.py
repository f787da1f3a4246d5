"""Chaos test: kill, stop and disconnect the processes of a fleet, repeat messages, check the end.

    python -m tests.support.chaos --runs 2000 --workers 4 --seed 1

The faults are drawn from the seed; their timing depends on the machine. At the end every order must
have exactly one final status; every run that was neither disturbed nor cancelled must be a success;
a run is lost only if its worker was killed or suspended meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import random
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.fleets import Fleet, FleetProcess
from tests.support.helpers import job, workflow
from worker.core.status import STATUSES, Status
from worker.fleet.client import Client, ControlError
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus
from worker.workflow.save import to_execution_plan

LEASE_S, GRACE_S = 4.0, 2.0
QUICK = to_execution_plan(workflow(job("fn(state => ({data: state.data}))")))
SLOW = to_execution_plan(
    workflow(
        job(
            "fn(state => new Promise(done => setTimeout(() => done(state), 300)))", next={"b": True}
        ),
        job("fn(state => state)", "b"),
    )
)


class Proxy:
    """A TCP proxy to the broker, whose connections the test can break."""

    def __init__(self, port: int) -> None:
        self._broker = port
        self._open: set[asyncio.StreamWriter] = set()

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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward = await asyncio.open_connection("127.0.0.1", self._broker)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, onward[1]}
        with contextlib.suppress(asyncio.CancelledError):  # the test is over
            await asyncio.gather(_pump(reader, onward[1]), _pump(onward[0], writer))
        self._open -= {writer, onward[1]}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


class Duplicator:
    """A participant that publishes some messages of others a second time, later."""

    FILTERS = ("worker/v1/requests/+", *(f"worker/v1/workers/+/{what}" for what in (
        "status", "claim", "reports", "beat", "release", "rsp", "cmd")))  # fmt: skip

    def __init__(self, url: str, chance: random.Random, share: float) -> None:
        self._bus = MqttBus(parse_address(url), *self.FILTERS)
        self._chance = chance
        self._share = share
        self._mine: Counter[tuple[str, bytes]] = Counter()
        self.repeated = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._bus:
            while True:
                for one in await self._bus.receive():
                    if not isinstance(one, Message) or one.retain:
                        continue
                    key = (one.topic, one.payload)
                    if self._mine[key]:
                        self._mine[key] -= 1
                    elif self._chance.random() < self._share:
                        self._mine[key] += 1
                        self.repeated += 1
                        loop.call_later(self._chance.uniform(0, 2), self._bus.publish, one)


@dataclass(slots=True)
class Fault:
    """A fault of a worker, from when to when, in microseconds since the epoch."""

    worker: str
    began: int
    ended: float = math.inf


@dataclass
class Chaos:
    """The fleet and the faults that are injected into it."""

    made: Fleet
    chance: random.Random
    proxies: dict[str, Proxy]
    processes: dict[str, FleetProcess] = field(default_factory=dict)
    disturbed: list[Fault] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    starts: int = 0

    def start(self, name: str) -> None:
        self.starts += 1
        url = f"mqtt://127.0.0.1:{self.proxies[name].port}"
        log = f"{name}-{self.starts}"
        if name == "control":
            store = f"sqlite:///{self.made.folder}/orders.db"
            arguments = (
                "control-plane",
                "--store",
                store,
                "--lease",
                str(LEASE_S),
                "--disconnect-grace",
                str(GRACE_S),
            )
        else:
            outbox = str(self.made.folder / f"outbox-{name}")
            arguments = ("start", "--name", name, "--capacity", "2", "--outbox", outbox)
        process = FleetProcess(self.made.folder, log, *arguments, "--mqtt", url, "--quiet")
        self.made.processes.append(process)
        self.processes[name] = process

    @property
    def workers(self) -> list[str]:
        return [name for name in self.processes if name != "control"]

    async def kill_worker(self) -> None:
        name = self.chance.choice(self.workers)
        with self._fault_of(name):
            self.processes[name].kill()
            await asyncio.sleep(self.chance.uniform(0.1, 1.5))
            self.start(name)

    async def stop_worker(self) -> None:
        name = self.chance.choice(self.workers)
        with self._fault_of(name):
            self.processes[name].send(signal.SIGSTOP)
            await asyncio.sleep(self.chance.uniform(0.2, LEASE_S * 1.5))
            self.processes[name].send(signal.SIGCONT)

    @contextlib.contextmanager
    def _fault_of(self, worker: str) -> Iterator[None]:
        # Recorded when it begins: a run may be lost, and the test end, before a long fault does.
        fault = Fault(worker, _now())
        self.disturbed.append(fault)
        yield
        fault.ended = _now()

    async def cut(self) -> None:
        self.proxies[self.chance.choice(list(self.proxies))].cut()

    async def kill_broker(self) -> None:
        self.made.broker.kill()
        await asyncio.sleep(self.chance.uniform(0.05, 1.0))
        await asyncio.to_thread(self.made.broker.start)

    async def kill_control(self) -> None:
        self.processes["control"].kill()
        await asyncio.sleep(self.chance.uniform(0.05, 1.0))
        self.start("control")

    async def inject_faults(self, pause: tuple[float, float]) -> None:
        """Inject one fault after the other, until cancelled."""
        faults: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.kill_worker, 3), (self.stop_worker, 2), (self.cut, 4),
            (self.kill_broker, 1), (self.kill_control, 1),
        ]  # fmt: skip
        while True:
            await asyncio.sleep(self.chance.uniform(*pause))
            fault = self.chance.choices([one for one, _ in faults], [many for _, many in faults])[0]
            await asyncio.shield(asyncio.ensure_future(fault()))
            self.done[fault.__name__.replace("_", " ")] += 1


def _now() -> int:
    return time.time_ns() // 1000


async def submit_all(client: Client, runs: int, chance: random.Random, cancelled: set[str]) -> None:
    """Submit the orders, a few at a time, and cancel some of them."""
    room = asyncio.Semaphore(20)

    async def one(index: int) -> None:
        async with room:
            plan = SLOW if chance.random() < 0.3 else QUICK
            order_id = f"order-{index}"
            order = await client.submit(plan=plan, input={"data": {"n": index}}, order_id=order_id)
            assert order["status"] != "rejected"
            if chance.random() < 0.03:
                cancelled.add(order_id)
                with contextlib.suppress(ControlError):
                    await client.cancel(order_id)

    await asyncio.gather(*(one(index) for index in range(runs)))


async def until_ended(client: Client, runs: int) -> None:
    """Wait until so many orders have ended."""
    final = {status.value for status, row in STATUSES.items() if row.final}
    while True:
        orders = (await client.summary())["orders"]
        if sum(count for status, count in orders.items() if status in final) >= runs:
            return
        await asyncio.sleep(0.2)


async def chaos(
    folder: Path,
    *,
    runs: int,
    workers: int,
    seed: int,
    pause: tuple[float, float],
    share: float = 0.1,
    kind: str = "mosquitto",
) -> dict[str, Any]:
    """Run a fleet under faults and check the end. Return the figures."""
    chance, cancelled = random.Random(seed), set[str]()
    names = ["control", *(f"w{number}" for number in range(workers))]
    began = time.monotonic()
    with Broker(kind=kind) as broker:
        made = Fleet(folder, broker)
        async with contextlib.AsyncExitStack() as stack:
            proxies = {name: await stack.enter_async_context(Proxy(broker.port)) for name in names}
            storm = Chaos(made, chance, proxies)
            duplicator = Duplicator(made.url, random.Random(seed + 1), share)
            try:
                for name in names:
                    storm.start(name)
                async with made.client(wait_s=60) as client:
                    await client.summary()
                    tasks = [
                        asyncio.create_task(storm.inject_faults(pause)),
                        asyncio.create_task(duplicator.run()),
                    ]
                    await submit_all(client, runs, random.Random(seed + 2), cancelled)
                    # The faults end before the last orders: else those might never end.
                    await until_ended(client, runs * 9 // 10)
                    tasks[0].cancel()
                    await asyncio.gather(tasks[0], return_exceptions=True)
                    await until_ended(client, runs)
                    tasks[1].cancel()
                    await asyncio.gather(tasks[1], return_exceptions=True)
                    took = time.monotonic() - began
                    await asyncio.sleep(0.5)  # messages in flight must change nothing
            finally:
                made.close()
    figures = check(folder / "orders.db", runs, storm.disturbed, cancelled)
    return {
        "runs": runs, "seed": seed, "seconds": round(took, 1), **storm.done,
        "messages repeated": duplicator.repeated, **figures,
    }  # fmt: skip


def check(database: Path, runs: int, disturbed: list[Fault], cancelled: set[str]) -> dict[str, Any]:
    """Check the invariants of the orders. Return the figures."""
    with contextlib.closing(sqlite3.connect(database)) as store:
        store.row_factory = sqlite3.Row
        orders = store.execute("SELECT * FROM orders").fetchall()
        found = {row["id"]: row for row in store.execute("SELECT * FROM runs")}
        events = Counter[tuple[str, int]]()
        completed = Counter[str]()
        for row in store.execute("SELECT run_id, attempt, seq, type FROM events ORDER BY seq"):
            assert events[row["run_id"], row["attempt"]] == row["seq"], "events without a gap"
            events[row["run_id"], row["attempt"]] += 1
            completed[row["run_id"]] += row["type"] == "run:complete"
        alerts = {row["run_id"] for row in store.execute("SELECT run_id FROM alerts")}
        stale = store.execute("SELECT count(*) FROM stale_reports").fetchone()[0]
    assert len(orders) == len(found) == runs, "each accepted order is there once, with one run"
    struck = 0
    for order in orders:
        run = found[order["last_run"]]
        assert order["status"] == run["status"], "an order has the status of its run"
        assert STATUSES[Status(run["status"])].final and run["phase"] == "final"
        attempts = [attempt for id, attempt in events if id == run["id"]]
        assert len(attempts) <= 1, "one attempt is started"
        assert completed[run["id"]] == (0 if not attempts or run["status"] == "lost" else 1)
        hit = was_disturbed(run, disturbed)
        struck += hit
        allowed = {"success"}
        if order["id"] in cancelled:
            allowed.add("cancelled")
        if hit:
            allowed.add("lost")
        assert run["status"] in allowed, (dict(run), order["id"] in cancelled, hit)
    lost = {run["id"] for run in found.values() if run["status"] == "lost"}
    assert alerts == lost, "there is an alert for each lost run"
    return {
        "disturbed": struck,
        **Counter(run["status"] for run in found.values()),
        "second attempts": sum(run["attempt"] > 1 for run in found.values()),
        "stale reports": stale,
    }


def was_disturbed(run: Any, disturbed: list[Fault]) -> bool:
    """Return whether the run's worker had a fault between its start and its end."""
    if run["started"] is None:
        return False
    # The control plane records a start when it is reported, which can be a little later.
    began = run["started"] - 2_000_000
    return any(
        one.worker == run["worker"] and one.began <= run["finished"] and began <= one.ended
        for one in disturbed
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(
            chaos(
                Path(folder),
                runs=given.runs,
                workers=given.workers,
                seed=given.seed,
                pause=(0.2, 1.5),
            )
        )
    for name, value in figures.items():
        print(f"{name:>20}  {value}")


if __name__ == "__main__":
    main()
