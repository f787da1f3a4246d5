"""Soak test: a fleet under load for long, with restarts of each part, whose memory must stay flat.

    python -m tests.support.soak --duration 1800 --rate 100

Every sixth of the duration each part is restarted: the broker, the control plane, a worker. Memory of
the control plane, workers, runners and broker must not grow after the first third; when the orders
were forgotten, the database must be small again and the broker must keep no state of them. No order
may be lost or done twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.support.chaos import QUICK
from tests.support.chaos_effects import TOKEN, Effects, counting_effects
from tests.support.fleets import Fleet, FleetProcess
from tests.support.long_run import print_figures
from worker.core.status import STATUSES
from worker.errors import MachineError
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Connected, Message
from worker.fleet.messaging.mqtt import MqttBus

RETAIN_S = 20.0
"""How long ended orders are kept: short, so that a steady state is reached early."""
GROWTH = 1.25
"""How much larger the median of the last third may be than that of the second third."""
SLACK_MB = 16.0
"""Less growth than this is that of caches which fill, and of an allocator."""
DATABASE_MB = 8.0
"""How large the database may be when its orders were forgotten."""
SAMPLE_S = 1.0
WORKERS = 2


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children; 0 for one that is gone."""
    total = 0.0
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            status = Path(f"/proc/{current}/status").read_text()
            children = Path(f"/proc/{current}/task/{current}/children").read_text()
        except OSError:
            continue
        line = next((row for row in status.splitlines() if row.startswith("VmRSS")), "VmRSS 0")
        total += int(line.split()[1]) / 1024
        waiting += map(int, children.split())
    return total


@dataclass
class Soak:
    """A fleet, the samples of its memory, and the restarts that it had."""

    made: Fleet
    effects: Effects
    processes: dict[str, FleetProcess] = field(default_factory=dict)
    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    restarts: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        self.restarts[name] += 1
        log = f"{name}-{self.restarts[name]}"
        arguments: tuple[str, ...]
        where = ("--mqtt", self.made.url, "--quiet")
        if name == "control":
            store = f"sqlite:///{self.made.folder}/orders.db"
            arguments = ("control-plane", "--store", store, "--retain-days",
                         f"{RETAIN_S / 86_400:.9f}", *where)  # fmt: skip
        else:
            outbox = str(self.made.folder / f"outbox-{name}")
            arguments = ("start", "--name", name, "--capacity", "2", "--outbox", outbox,
                         "--collections", self.effects.url, *where)  # fmt: skip
        process = FleetProcess(self.made.folder, log, *arguments, WORKER_COLLECTIONS_TOKEN=TOKEN)
        self.made.processes.append(process)
        self.processes[name] = process

    async def sample(self, began: float) -> None:
        while True:
            for name, process in self.processes.items():
                size = resident_mb(process.process.pid)
                self.samples.setdefault(name, []).append((time.monotonic() - began, size))
            self.samples.setdefault("database", []).append(
                (time.monotonic() - began, self.database_mb())
            )
            with contextlib.suppress(AssertionError):  # the broker is being restarted
                size = resident_mb(self.made.broker.pid)
                self.samples.setdefault("broker", []).append((time.monotonic() - began, size))
            await asyncio.sleep(SAMPLE_S)

    def database_mb(self) -> float:
        files = [self.made.folder / "orders.db", self.made.folder / "orders.db-wal"]
        return sum(file.stat().st_size for file in files if file.exists()) / 2**20

    async def restart_each(self, every_s: float) -> None:
        """Restart the parts in turn: a worker by SIGTERM, the others as a crash."""
        names = ["w0", "control", "broker"]
        while True:
            for name in names:
                await asyncio.sleep(every_s / len(names))
                if name == "broker":
                    self.restarts[name] += 1
                    self.made.broker.kill()
                    await asyncio.to_thread(start_again, self.made.broker)
                elif name == "control":
                    self.processes[name].kill()
                    self.start(name)
                else:
                    await asyncio.to_thread(self.processes[name].stop)
                    self.start(name)


def start_again(broker: Broker) -> None:
    """Start a broker again, however busy the machine is."""
    for _ in range(10):
        with contextlib.suppress(MachineError):
            return broker.start()
    raise MachineError("the broker does not start again")


async def submit(client: Client, rate: float, duration_s: float, accepted: list[str]) -> None:
    """Submit orders at a rate, as far as they are answered; not more than a second of them wait."""
    began = time.monotonic()
    room = asyncio.Semaphore(max(20, int(rate)))
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        async with room:
            order_id = f"soak-{number}"
            try:
                await client.submit(
                    plan=QUICK, input={"data": {"order": order_id}}, order_id=order_id
                )
            except ControlError:
                return
            accepted.append(order_id)

    number = 0
    while (elapsed := time.monotonic() - began) < duration_s:
        while number < elapsed * rate and len(tasks) < 10 * rate:
            task = asyncio.create_task(one(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.sleep(0.02)
    await asyncio.gather(*tasks)


async def until_idle(client: Client) -> dict[str, int]:
    """Wait until no order waits or runs, and return how many there are by status."""
    final = {status.value for status, row in STATUSES.items() if row.final}
    while True:
        orders: dict[str, int] = (await client.summary())["orders"]
        if not sum(count for status, count in orders.items() if status not in final):
            return orders
        await asyncio.sleep(0.5)


async def until_small(fleet: Soak, kept: int) -> tuple[float, int]:
    """Wait until the database is small and the broker has only states of the orders that are kept.

    Return the size of the database in MB and the number of states on the broker.
    """
    deadline = time.monotonic() + 150
    while True:
        database, retained = fleet.database_mb(), await count_retained(fleet.made.url)
        # An order has its own state and that of its run.
        if database <= DATABASE_MB and retained <= 2 * kept:
            return database, retained
        assert time.monotonic() < deadline, f"{database:.0f} MB and {retained} states are kept"
        await asyncio.sleep(2.0)


async def count_retained(url: str) -> int:
    """Count the states of orders and runs that a broker hands to a new subscriber."""
    topics = ("worker/v1/orders/+/state", "worker/v1/runs/+/state", "soak/end")
    count = 0
    async with MqttBus(parse_address(url), *topics) as bus:
        while True:
            for arrival in await bus.receive():
                match arrival:
                    case Connected():
                        # The broker has sent what it retains when it gets to this.
                        bus.publish(Message(topic="soak/end", payload=b"end"))
                    case Message(topic="soak/end"):
                        return count
                    case Message(retain=True):
                        count += 1


def growth_of(samples: list[tuple[float, float]], duration_s: float) -> tuple[float, float]:
    """Return the medians of the second and the last third of the time."""
    second = [size for at, size in samples if duration_s / 3 < at <= duration_s * 2 / 3]
    last = [size for at, size in samples if duration_s * 2 / 3 < at <= duration_s]
    return (median(second), median(last)) if second and last else (0.0, 0.0)


def check_growth(name: str, second: float, last: float) -> None:
    assert last <= second * GROWTH + SLACK_MB, (
        f"{name} has grown from {second:.0f} to {last:.0f} MB"
    )


async def soak(folder: Path, *, duration_s: float, rate: float) -> dict[str, object]:
    """Run a fleet for a time under load. Return the figures."""
    accepted: list[str] = []
    with ExitStack() as stack:
        effects = stack.enter_context(counting_effects())
        made = Fleet(folder, stack.enter_context(Broker()))
        stack.callback(made.close)
        fleet = Soak(made, effects)
        for name in ("control", *(f"w{number}" for number in range(WORKERS))):
            fleet.start(name)
        began = time.monotonic()
        async with made.client(wait_s=120) as client:
            await client.summary()
            background = [
                asyncio.create_task(fleet.sample(began)),
                asyncio.create_task(fleet.restart_each(duration_s / 6)),
            ]
            await submit(client, rate, duration_s, accepted)
            assert not background[1].done(), background[1].exception()
            background[1].cancel()
            await asyncio.gather(background[1], return_exceptions=True)
            for name, process in fleet.processes.items():
                if process.process.poll() is not None:
                    fleet.start(name)
            await until_idle(client)
            took_s = time.monotonic() - began
            # Retention looks once a minute, and deletes in parts.
            deadline = time.monotonic() + RETAIN_S + 150
            while (kept := sum((await client.summary())["orders"].values())) > len(accepted) / 50:
                assert time.monotonic() < deadline, f"{kept} orders are not forgotten"
                await asyncio.sleep(1.0)
            background[0].cancel()
            await asyncio.gather(background[0], return_exceptions=True)
            database, retained = await until_small(fleet, kept)
    again = {order: count for order, count in effects.counts.items() if count > 1}
    assert not again, f"effects that happened twice: {again}"
    missing = [order for order in accepted if not effects.counts[order]]
    figures: dict[str, object] = {}
    for name, samples in sorted(fleet.samples.items()):
        second, last = growth_of(samples, duration_s)
        figures[f"{name}, MB"] = f"{second:.0f} in the second third, {last:.0f} in the last"
        check_growth(name, second, last)
    return {
        "seconds": round(took_s), "orders": len(accepted),
        "runs/s": round(len(accepted) / took_s, 1), "restarts": json.dumps(fleet.restarts),
        "orders without effect (lost runs)": len(missing), "orders kept": kept,
        "database at the end, MB": round(database, 1), "states on the broker": retained, **figures,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duration", type=float, default=1800, help="seconds")
    parser.add_argument("--rate", type=float, default=100.0, help="orders a second")
    options = parser.parse_args()
    print_figures(
        "soak", lambda folder: soak(folder, duration_s=options.duration, rate=options.rate)
    )


if __name__ == "__main__":
    main()
