"""Chaos test: kill, stop and disconnect the processes of a fleet, repeat messages, check the end.

    python -m tests.support.chaos --runs 2000 --workers 4 --seed 1 [--postgresql --planes 3]

The faults are drawn from the seed; their timing depends on the machine. Each run has an effect, a
request to an HTTP server outside of the fleet, which counts it. At the end every order must have
exactly one final status, and no effect may have happened twice; every run that was neither disturbed
nor cancelled must be a success; a run is lost only if its worker was disturbed meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.chaos_checks import Fault, check, read_rows
from tests.support.chaos_effects import TOKEN, Effects, counting_effects
from tests.support.chaos_network import Duplicator, Proxy
from tests.support.databases import Postgres, postgres_binaries
from tests.support.fleets import Fleet, FleetProcess
from tests.support.helpers import job, workflow
from tests.support.long_run import print_figures
from worker.core.status import STATUSES
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus
from worker.workflow.save import to_execution_plan

# A machine that is busy with other tests stands still for seconds. With a lease of 4 s healthy runs
# were lost then.
LEASE_S, GRACE_S = 8.0, 2.0
EFFECT = "collections.set('effects', value => value.order, state => ({ order: state.data.order }));"
QUICK = to_execution_plan(workflow(job(EFFECT)))
SLOW = to_execution_plan(
    workflow(
        job(
            "fn(state => new Promise(done => setTimeout(() => done(state), 300)))", next={"b": True}
        ),
        job(EFFECT, "b"),
    )
)
# An input and an output that are too large for a message.
LARGE = {"text": "x" * 400_000}
SKEWS_S = (0, 0, 30, -30, 3600)
SKEWED = (
    "import time, worker.util.machine_clock as clock; "
    "clock._machine = clock.Machine(wall_ns=lambda: time.time_ns() + {skew_s} * 10**9); "
    "from worker.cli.main import main; main()"
)


@dataclass
class Chaos:
    """The fleet and the faults that are injected into it."""

    made: Fleet
    chance: random.Random
    proxies: dict[str, Proxy]
    store: str
    effects: Effects
    postgres: Postgres | None = None
    processes: dict[str, FleetProcess] = field(default_factory=dict)
    disturbed: list[Fault] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    starts: int = 0

    def start(self, name: str) -> None:
        self.starts += 1
        url = f"mqtt://127.0.0.1:{self.proxies[name].port}"
        log, skew_s = f"{name}-{self.starts}", 0
        if name.startswith("control"):
            skew_s = self.chance.choice(SKEWS_S)
            arguments = (
                "control-plane", "--store", self.store, "--lease", str(LEASE_S),
                "--disconnect-grace", str(GRACE_S),
                *(("--shared",) if len(self.planes_of(self.proxies)) > 1 else ()),
            )  # fmt: skip
        else:
            outbox = str(self.made.folder / f"outbox-{name}")
            arguments = ("start", "--name", name, "--capacity", "2", "--outbox", outbox,
                         "--collections", self.effects.url)  # fmt: skip
        program = [sys.executable, "-c", SKEWED.format(skew_s=skew_s)]
        process = FleetProcess(
            self.made.folder, log, *arguments, "--mqtt", url, "--quiet",
            program=program, WORKER_COLLECTIONS_TOKEN=TOKEN,
        )  # fmt: skip
        self.done["planes with another clock"] += skew_s != 0
        self.made.processes.append(process)
        self.processes[name] = process

    @staticmethod
    def planes_of(names: Any) -> list[str]:
        return [name for name in names if name.startswith("control")]

    @property
    def planes(self) -> list[str]:
        return self.planes_of(self.processes)

    @property
    def workers(self) -> list[str]:
        return [name for name in self.processes if not name.startswith("control")]

    async def kill_worker(self) -> None:
        name = self.chance.choice(self.workers)
        with self._fault_of(name):
            self.processes[name].kill()
            await asyncio.sleep(self.chance.uniform(0.1, 1.5))
            self.start(name)

    async def stop_worker(self) -> None:
        name = self.chance.choice(self.workers)
        with self._fault_of(name):
            await self._stop(name, LEASE_S * 1.5)

    async def _stop(self, name: str, most_s: float) -> None:
        self.processes[name].send(signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(0.2, most_s))
        self.processes[name].send(signal.SIGCONT)

    @contextlib.contextmanager
    def _fault_of(self, worker: str) -> Iterator[None]:
        # Recorded when it begins: a run may be lost, and the test end, before a long fault does.
        fault = Fault(worker, time.monotonic())
        self.disturbed.append(fault)
        yield
        fault.ended = time.monotonic()

    async def cut(self) -> None:
        self.proxies[self.chance.choice(list(self.proxies))].cut()

    async def cut_one_way(self) -> None:
        name = self.chance.choice(list(self.proxies))
        proxy = self.proxies[name]
        faults = self.chance.choice([proxy.up, proxy.down])
        # A worker that is not heard of for a lease is lost, and should be.
        with contextlib.ExitStack() as stack:
            if name in self.workers:
                stack.enter_context(self._fault_of(name))
            await proxy.cut_one_way(faults, self.chance.uniform(0.5, LEASE_S * 1.5))

    async def delay(self) -> None:
        name = self.chance.choice(list(self.proxies))
        with contextlib.ExitStack() as stack:
            if name in self.workers:
                stack.enter_context(self._fault_of(name))
            await self.proxies[name].delay(self.chance.uniform(0.1, LEASE_S))

    async def kill_broker(self) -> None:
        self.made.broker.kill()
        await asyncio.sleep(self.chance.uniform(0.05, 1.0))
        await asyncio.to_thread(self.made.broker.start)

    async def kill_control(self) -> None:
        name = self.chance.choice(self.planes)
        self.processes[name].kill()
        await asyncio.sleep(self.chance.uniform(0.05, 1.0))
        self.start(name)

    async def stop_control(self) -> None:
        await self._stop(self.chance.choice(self.planes), LEASE_S * 2)

    async def restart_database(self) -> None:
        assert self.postgres is not None
        await asyncio.to_thread(self.postgres.restart, self.chance.uniform(0.1, 2.0))

    async def kill_backends(self) -> None:
        assert self.postgres is not None
        await asyncio.to_thread(self.postgres.kill_backends)

    def _faults(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        faults: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.kill_worker, 3), (self.stop_worker, 2), (self.cut, 4), (self.cut_one_way, 3),
            (self.delay, 2), (self.kill_broker, 1), (self.kill_control, 1), (self.stop_control, 1),
        ]  # fmt: skip
        if self.postgres is not None:
            faults += [(self.restart_database, 1), (self.kill_backends, 1)]
        return faults

    def _drawn(self) -> Iterator[Callable[[], Awaitable[None]]]:
        # As cards from a deck: a storm that is long enough has each kind of fault.
        deck = [fault for fault, count in self._faults() for _ in range(count)]
        while True:
            self.chance.shuffle(deck)
            yield from deck

    async def inject_faults(self, pause: tuple[float, float]) -> None:
        """Inject one fault after the other, until cancelled."""
        for fault in self._drawn():
            await asyncio.sleep(self.chance.uniform(*pause))
            await asyncio.shield(asyncio.ensure_future(fault()))
            self.done[fault.__name__.replace("_", " ")] += 1


async def submit_all(client: Client, runs: int, chance: random.Random, cancelled: set[str]) -> None:
    """Submit the orders, a few at a time, and cancel some of them."""
    room = asyncio.Semaphore(20)

    async def submit(index: int) -> None:
        async with room:
            plan = SLOW if chance.random() < 0.3 else QUICK
            large = LARGE if chance.random() < 0.01 else {}
            order_id = f"order-{index}"
            input = {"data": {"order": order_id, **large}}
            order = await client.submit(plan=plan, input=input, order_id=order_id)
            assert order["status"] != "rejected"
            if chance.random() < 0.03:
                cancelled.add(order_id)
                with contextlib.suppress(ControlError):
                    await client.cancel(order_id)

    await asyncio.gather(*(submit(index) for index in range(runs)))


async def until_ended(client: Client, runs: int) -> None:
    """Wait until so many orders have ended."""
    final = {status.value for status, row in STATUSES.items() if row.final}
    while True:
        orders = (await client.summary())["orders"]
        if sum(count for status, count in orders.items() if status in final) >= runs:
            return
        await asyncio.sleep(0.2)


class Observer:
    """A follower of all runs: when it saw each status first, and the newest state of each run."""

    def __init__(self, url: str) -> None:
        self._bus = MqttBus(parse_address(url), "worker/v1/runs/+/state")
        self.times: dict[tuple[str, str], float] = {}
        self.newest: dict[str, tuple[int, str]] = {}

    async def run(self) -> None:
        async with self._bus:
            while True:
                for arrival in await self._bus.receive():
                    if isinstance(arrival, Message) and arrival.payload:
                        self._see(json.loads(arrival.payload))

    async def until_final(self, runs: int) -> None:
        """Wait until so many runs are seen with a final status.

        States come again in pages, some seconds after a broker without them.
        """
        final = {status.value for status, row in STATUSES.items() if row.final}
        async with asyncio.timeout(60):
            while sum(status in final for _, status in self.newest.values()) < runs:
                await asyncio.sleep(0.1)

    def _see(self, state: dict[str, Any]) -> None:
        run_id, status = state["run_id"], state["status"]
        self.times.setdefault((run_id, status), time.monotonic())
        self.newest[run_id] = max(
            self.newest.get(run_id, (-1, "")), (int(state["revision"]), status)
        )


@dataclass(frozen=True, kw_only=True)
class Storm:
    """The size of a storm: runs, workers, planes, faults a second, and the database."""

    runs: int
    seed: int
    workers: int = 4
    planes: int = 1
    pause: tuple[float, float] = (0.1, 0.8)
    share: float = 0.1
    kind: str = "mosquitto"
    postgresql: bool = False


async def chaos(folder: Path, storm: Storm) -> dict[str, Any]:
    """Run a fleet under faults and check the end. Return the figures."""
    with contextlib.ExitStack() as stack:
        postgres: Postgres | None = None
        if storm.postgresql:
            binaries = postgres_binaries()
            assert binaries is not None, "PostgreSQL is not installed"
            # Commits last: a server that is restarted must have them.
            postgres = stack.enter_context(Postgres(binaries, synchronous_commit=True))
        store = postgres.url if postgres else f"sqlite:///{folder}/orders.db"
        effects = stack.enter_context(counting_effects())
        broker = stack.enter_context(Broker(kind=storm.kind))
        made = Fleet(folder, broker)
        stack.callback(made.close)
        return await _chaos(storm, made, store, effects, postgres)


async def _chaos(
    storm: Storm, made: Fleet, store: str, effects: Effects, postgres: Postgres | None
) -> dict[str, Any]:
    cancelled, began = set[str](), time.monotonic()
    names = [
        *(f"control-{n}" for n in range(storm.planes)),
        *(f"w{n}" for n in range(storm.workers)),
    ]
    async with contextlib.AsyncExitStack() as stack:
        proxies = {name: await stack.enter_async_context(Proxy(made.broker.port)) for name in names}
        fleet = Chaos(made, random.Random(storm.seed), proxies, store, effects, postgres)
        duplicator = Duplicator(made.url, random.Random(storm.seed + 1), storm.share)
        observer = Observer(made.url)
        for name in names:
            fleet.start(name)
        background = [asyncio.create_task(part.run()) for part in (duplicator, observer)]
        async with made.client(wait_s=120) as client:
            await client.summary()
            faults = asyncio.create_task(fleet.inject_faults(storm.pause))
            await submit_all(client, storm.runs, random.Random(storm.seed + 2), cancelled)
            # The faults end before the last orders: else those might never end.
            await until_ended(client, storm.runs * 9 // 10)
            faults.cancel()
            await asyncio.gather(faults, return_exceptions=True)
            await until_ended(client, storm.runs)
            took = time.monotonic() - began
            await observer.until_final(storm.runs)
            await asyncio.sleep(1.5)  # messages in flight must change nothing
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
    ended = {name: process.process.poll() for name, process in fleet.processes.items()}
    assert not any(code is not None for code in ended.values()), f"a process has ended: {ended}"
    made.close()
    rows = read_rows(store)
    figures = check(
        rows, runs=storm.runs, effects=effects.counts, cancelled=cancelled,
        disturbed=fleet.disturbed, times=observer.times,
    )  # fmt: skip
    for run_id, (_, status) in observer.newest.items():
        assert status == rows.runs[run_id]["status"], f"followers see {run_id} as {status}"
    return {
        "database": "PostgreSQL" if postgres else "SQLite", "planes": storm.planes,
        "runs": storm.runs, "seed": storm.seed, "seconds": round(took, 1), **fleet.done,
        "messages repeated": duplicator.repeated, "oversized": duplicator.oversized, **figures,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--planes", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    storm = Storm(
        runs=options.runs, seed=options.seed, workers=options.workers, planes=options.planes,
        postgresql=options.postgresql or options.planes > 1,
    )  # fmt: skip
    print_figures("chaos", lambda folder: chaos(folder, storm))


if __name__ == "__main__":
    main()
