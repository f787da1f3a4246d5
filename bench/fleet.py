"""Costs of the control plane and of a fleet, over a real mosquitto. Needs mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from bench import queues
from bench.fleet_messages import TOPICS, from_worker, report, submit
from bench.processor_time import descendants, processor_s
from bench.table import row
from worker import load
from worker.fleet.client import Client
from worker.fleet.connect import connect
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Connected, Message
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.worker_protocol import PROTOCOL, Assignment, Claim
from worker.workflow.save import to_execution_plan

WORKER = [sys.executable, "-m", "worker"]
WAITS = "fn(state => new Promise(done => setTimeout(() => done(state), 60000)))"
PAUSES = "fn(state => new Promise(done => setTimeout(() => done(state), 25000)))"
LOGS = "fn(state => { for (let i = 0; i < 5000; i++) console.log(i); return state })"


def main() -> None:
    queues.main()
    if not shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin"):
        row("fleet", "mosquitto is not installed", "")
        return
    with tempfile.TemporaryDirectory() as folder, Broker(kind="mosquitto") as broker:
        asyncio.run(_fleet(Path(folder), broker))
    for count in (1_000, 10_000, 100_000):
        _queued(count)
        with tempfile.TemporaryDirectory() as folder, Broker(kind="mosquitto") as broker:
            asyncio.run(_beside(count, Path(folder), broker))


def plan_of(*sources: str, name: str = "bench") -> dict[str, Any]:
    ids = [f"s{index}" for index in range(len(sources))]
    steps: list[dict[str, Any]] = [
        {"id": id, "adaptor": "common", "expression": source}
        for id, source in zip(ids, sources, strict=True)
    ]
    for step, after in zip(steps, ids[1:], strict=False):
        step["next"] = {after: True}
    return to_execution_plan(load({"workflow": {"name": name, "steps": steps}}))


class Started:
    """Processes of a fleet."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._began = time.monotonic()

    async def age(self) -> None:
        """Wait until leases can expire: a new control plane may have missed a heartbeat of each."""
        lease_s = Settings().lease_s
        await asyncio.sleep(max(0.0, self._began + lease_s + 5 - time.monotonic()))

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [*WORKER, *arguments, "--mqtt", self._url, "--quiet"]
        with (self._folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        return self.processes[name]

    def control(self) -> subprocess.Popen[bytes]:
        policy = self._folder / "policy.yaml"
        limits = ("--policy", str(policy)) if policy.exists() else ()
        store = f"sqlite:///{self._folder}/orders.db"
        return self.start("control", "control-plane", "--store", store, *limits)

    def worker(self, name: str, capacity: int) -> subprocess.Popen[bytes]:
        outbox = str(self._folder / name)
        return self.start(
            name, "start", "--name", name, "--capacity", str(capacity), "--outbox", outbox
        )

    def end(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        for name in list(self.processes):
            self.end(name)


@contextlib.asynccontextmanager
async def _there(folder: Path, broker: Broker, workers: int, capacity: int) -> AsyncIterator[Any]:
    started = Started(folder, broker.url)
    try:
        started.control()
        for number in range(workers):
            started.worker(f"w{number}", capacity)
        async with connect(broker.url, wait_s=60) as client:
            while (await client.summary())["workers"] < workers:
                await asyncio.sleep(0.05)
            yield started, client
    finally:
        started.close()


async def _fleet(folder: Path, broker: Broker) -> None:
    step = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"
    three, waits, logs = plan_of(step, step, step), plan_of(WAITS), plan_of(LOGS)
    async with _there(folder, broker, 2, 4) as (started, client):
        await _warm(client, three)
        await _latency(client, three)
        await _throughput(client, three, started, broker)
        raw = await _raw(broker.url)
        await _events(client, logs, raw)
        await _cancel(client, waits)
        await _lost(client, waits, started)
        await _stopped(client, plan_of(PAUSES), started)
    await _memory(folder, broker, three)


async def _warm(client: Client, plan: dict[str, Any]) -> None:
    orders = [await client.submit(plan=plan) for _ in range(20)]
    for order in orders:
        await client.wait(order["last_run"])


async def _latency(client: Client, plan: dict[str, Any]) -> None:
    p50, p99 = await _starts(client, plan, 200)
    row("submit to start, p50 / p99", f"{p50:.1f} / {p99:.1f} ms", "aim 4 / 10 ms")


async def _starts(client: Client, plan: dict[str, Any], count: int) -> tuple[float, float]:
    """From before the request to the run's own first moment, one after the other, in ms."""
    taken = []
    for _ in range(count):
        began = time.time_ns() // 1000
        order = await client.submit(plan=plan)
        await client.wait(order["last_run"])
        [start, *_] = await client.events(order["last_run"])
        taken.append((start["timestamp"] - began) / 1000)
    taken.sort()
    return taken[len(taken) // 2], taken[len(taken) * 99 // 100]


async def _throughput(
    client: Client, plan: dict[str, Any], started: Started, broker: Broker
) -> None:
    count = 2000
    before = _spent_s(started, broker)
    rate = await _rate(client, plan, count)
    after = _spent_s(started, broker)
    row("runs end to end, SQLite, 2 workers", f"{rate:,.0f} /s", "aim 500 /s")
    spent_ms = {part: (after[part] - before[part]) / count * 1000 for part in after}
    split = ", ".join(f"{part} {spent:.2f}" for part, spent in spent_ms.items())
    row("… processor time of a run", f"{sum(spent_ms.values()):.2f} ms", split)


def _spent_s(started: Started, broker: Broker) -> dict[str, float]:
    """Return the processor time of each part of the fleet."""
    processes = dict(started.processes)
    control = processes.pop("control")
    workers = [worker.pid for worker in processes.values()]
    parts = {
        "client": [os.getpid()],
        "broker": [broker.pid],
        "control plane": [control.pid],
        "workers": workers,
        "runners": [pid for worker in workers for pid in descendants(worker)],
    }
    return {part: sum(map(processor_s, pids)) for part, pids in parts.items()}


async def _rate(client: Client, plan: dict[str, Any], count: int) -> float:
    before = (await client.summary())["orders"].get("success", 0)
    began = time.perf_counter()
    room = asyncio.Semaphore(40)

    async def one() -> None:
        async with room:
            await client.submit(plan=plan, input={"data": {}})

    await asyncio.gather(*(one() for _ in range(count)))
    while (await client.summary())["orders"].get("success", 0) < before + count:
        await asyncio.sleep(0.05)
    return count / (time.perf_counter() - began)


async def _raw(url: str, count: int = 20_000) -> float:
    """Messages a second of 256 bytes from one client to another, quality of service 0."""
    async with (
        MqttBus(parse_address(url), "raw") as receiver,
        MqttBus(parse_address(url)) as sender,
    ):
        for bus in (receiver, sender):
            while Connected() not in await bus.receive():
                pass
        began = time.perf_counter()
        received, sent = 0, 0
        while received < count:
            while sent < count and sent - received < 2000:
                sender.publish(Message(topic="raw", payload=b"x" * 256))
                sent += 1
            received += sum(isinstance(each, Message) for each in await receiver.receive())
        return count / (time.perf_counter() - began)


async def _events(client: Client, plan: dict[str, Any], raw: float) -> None:
    began = time.perf_counter()
    orders = [await client.submit(plan=plan) for _ in range(4)]
    for order in orders:
        await client.wait(order["last_run"])
    rate = 4 * 5004 / (time.perf_counter() - began)
    row(
        "events reported, stored and published",
        f"{rate:,.0f} /s",
        f"{rate / raw:.2f} x raw client's {raw:,.0f}",
    )


async def _cancel(client: Client, plan: dict[str, Any]) -> None:
    taken = await _cancels(client, plan, 20)
    row(
        "cancel to killed process, p50 / worst",
        f"{taken[10]:.1f} / {taken[-1]:.1f} ms",
        "aim 100 ms",
    )


async def _cancels(client: Client, plan: dict[str, Any], count: int) -> list[float]:
    """Until the worker has seen the end of the run's process, in ms, in order of length."""
    taken = []
    for _ in range(count):
        order = await client.submit(plan=plan)
        await _running(client, order["last_run"])
        began = time.time_ns() // 1000
        await client.cancel(order["last_run"])
        await client.wait(order["last_run"])
        last = (await client.events(order["last_run"]))[-1]
        taken.append((last["timestamp"] - began) / 1000)
    return sorted(taken)


async def _running(client: Client, run_id: str) -> None:
    async for _ in client.follow(run_id):
        return


async def _lost(client: Client, plan: dict[str, Any], started: Started) -> None:
    taken = await _losses(client, plan, started, 2)
    row("kill -9 to Lost, worst", f"{max(taken):.2f} s", "aim 2 s")


async def _losses(
    client: Client, plan: dict[str, Any], started: Started, count: int
) -> list[float]:
    taken = []
    for _ in range(count):
        order = await client.submit(plan=plan)
        await _running(client, order["last_run"])
        worker = (await client.run(order["last_run"]))["worker"]
        began = time.perf_counter()
        started.processes[worker].send_signal(signal.SIGKILL)
        await client.wait(order["last_run"])
        taken.append(time.perf_counter() - began)
        started.end(worker)
        started.worker(worker, 4)
    return taken


async def _stopped(client: Client, plan: dict[str, Any], started: Started) -> None:
    """Stop the control plane for 20 s while all slots execute runs of 25 s."""
    orders = [await client.submit(plan=plan) for _ in range(8)]
    for order in orders:
        await _running(client, order["last_run"])
    control = started.processes["control"]
    control.send_signal(signal.SIGSTOP)
    await asyncio.sleep(20)
    control.send_signal(signal.SIGCONT)
    ends = [await client.wait(order["last_run"]) for order in orders]
    lost = sum(end["status"] != "success" for end in ends)
    row("control plane stopped for 20 s: healthy runs lost", f"{lost} of {len(ends)}", "aim 0")


async def _memory(folder: Path, broker: Broker, plan: dict[str, Any]) -> None:
    started = Started(folder, broker.url)
    try:
        control = started.control()
        async with connect(broker.url, wait_s=60) as client:
            await client.summary()
            before = resident_mb(control.pid)
            room = asyncio.Semaphore(100)

            async def one() -> None:
                async with room:
                    await client.submit(plan=plan, input={"data": {"x": "y" * 500}})

            await asyncio.gather(*(one() for _ in range(10_000)))
            after = resident_mb(control.pid)
        text = f"{(after - before) / 10_000 * 1024:.0f} KB an order"
        row(
            "control plane with 10,000 queued orders",
            f"{after:.0f} MB",
            f"{before:.0f} MB idle, {text}",
        )
    finally:
        started.close()


def resident_mb(pid: int) -> float:
    """Megabytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- growth ---------------------------------------------------------------------------------------


def _queued(count: int) -> None:
    """Measure a run's cost to the control plane while ``count`` others are queued, in batches of 20."""
    plan = msgspec.Raw(msgspec.json.encode(plan_of("fn(s => s)")))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/orders.db")
        store.migrate()
        plane = MessageProcessor(store, topics=TOPICS)
        plane.on_connected(1)
        spent = {"submit": 0.0, "claim": 0.0, "report": 0.0}
        for first in range(0, count, 20):
            batch = [submit(f"o{first + index}", plan) for index in range(20)]
            plane.process(batch, 10**15 + first)
        for round in range(25):
            fresh = [submit(f"p{round}-{index}", plan) for index in range(20)]
            spent["submit"] += _timed(plane, fresh)[0]
            claim = Claim(claim_id=f"c{round}", demand=20, incarnation="i", protocol=PROTOCOL)
            took, published = _timed(plane, [from_worker("claim", claim)])
            spent["claim"] += took
            [answer] = [each for each in published if each.topic.endswith("/rsp")]
            runs = wire.decode(Assignment, answer.payload).runs
            took, published = _timed(plane, [report(run.lease) for run in runs])
            spent["report"] += took
            assert not any(b"refused" in each.payload for each in published)
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 2**20
        store.close()
    each = " + ".join(f"{value / 500 * 1000:.2f}" for value in spent.values())
    total = sum(spent.values()) / 500 * 1000
    row(
        f"one run with {count:,} queued",
        f"{total:.2f} ms",
        f"submit + claim + report: {each} ms; database {size:.0f} MB",
    )


async def _beside(count: int, folder: Path, broker: Broker) -> None:
    """A fleet at work while so many orders of another workflow wait, which may not go."""
    held = msgspec.Raw(msgspec.json.encode(plan_of("fn(s => s)", name="held")))
    store = Store(f"sqlite:///{folder}/orders.db")
    store.migrate()
    plane = MessageProcessor(store, topics=TOPICS)
    plane.on_connected(1)
    for first in range(0, count, 100):
        batch = [submit(f"o{first + index}", held) for index in range(100)]
        plane.process(batch, time.time_ns() // 1000)
    store.close()
    (folder / "policy.yaml").write_text("default: {workflows: {held: 0}}")
    three, waits = plan_of("fn(s => s)", "fn(s => s)", "fn(s => s)"), plan_of(WAITS)
    async with _there(folder, broker, 2, 4) as (started, client):
        await _warm(client, three)
        p50, p99 = await _starts(client, three, 100)
        rate = await _rate(client, three, 500)
        cancels = await _cancels(client, waits, 10)
        await started.age()
        lost = await _losses(client, waits, started, 1)
        memory = resident_mb(started.processes["control"].pid)
    row(
        f"a fleet with {count:,} queued beside",
        f"{rate:.0f} runs/s",
        f"start {p50:.1f} / {p99:.1f} ms; cancel {cancels[-1]:.0f} ms; lost {lost[0]:.1f} s; "
        f"{memory:.0f} MB",
    )


def _timed(plane: MessageProcessor, messages: list[Message]) -> tuple[float, list[Message]]:
    began = time.perf_counter()
    outgoing = plane.process(messages, 2 * 10**15)
    return time.perf_counter() - began, outgoing.messages
