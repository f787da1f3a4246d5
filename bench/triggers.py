"""Costs of triggers, over a real mosquitto and HTTP. Needs mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from bench.fleet import Started
from bench.table import row
from worker.fleet.client import Client
from worker.fleet.connect import connect
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker, free_port
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus

MESSAGES, CALLS, STARTS = 6_000, 500, 60
PROJECT = {
    "workflows": {
        "bench": {
            "name": "Bench",
            "jobs": {"keep": {"adaptor": "common", "body": "fn(state => state)"}},
            "triggers": {
                "in": {"type": "mqtt", "topic": "bench/+/in", "idempotency": "$.id"},
                "hook": {"type": "webhook", "custom_path": "bench"},
            },
            "edges": {
                f"{name}->keep": {"source_trigger": name, "target_job": "keep", "condition_type": "always"}
                for name in ("in", "hook")
            },
        }
    }
}  # fmt: skip


def main() -> None:
    if not shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin"):
        row("triggers", "mosquitto is not installed", "")
        return
    with tempfile.TemporaryDirectory() as folder, Broker(kind="mosquitto") as broker:
        asyncio.run(_measure(Path(folder), broker))


async def _measure(folder: Path, broker: Broker) -> None:
    port = free_port()
    project = folder / "project.yaml"
    project.write_text(yaml.safe_dump(PROJECT))
    processes = Started(folder, broker.url)
    store = f"sqlite:///{folder}/orders.db"
    processes.start("control", "control-plane", "--store", store, "--webhooks", f"127.0.0.1:{port}")
    try:
        async with _client(broker) as client, MqttBus(parse_address(broker.url)) as bus:
            await client.deploy(project)
            await _first(client, bus)
            row(
                "message to accepted order",
                f"{await _messages(client, bus):,.0f} / s",
                "≥ 1,500 / s",
            )
            p50, p99 = await _calls(port)
            row("webhook to accepted order, p50 / p99", f"{p50:.1f} / {p99:.1f} ms", "≤ 5 / 20 ms")
    finally:
        processes.close()
    with tempfile.TemporaryDirectory() as other:
        processes = Started(Path(other), broker.url)
        processes.start("control", "control-plane", "--store", f"sqlite:///{other}/orders.db")
        processes.start("worker", "start", "--name", "bench", "--outbox", f"{other}/outbox")
        try:
            async with _client(broker) as client, MqttBus(parse_address(broker.url)) as bus:
                await client.deploy(project)
                await _first(client, bus)
                row("message to first step, p50", f"{await _starts(client, bus):.1f} ms", "≤ 8 ms")
        finally:
            processes.close()


@contextlib.asynccontextmanager
async def _client(broker: Broker) -> AsyncIterator[Client]:
    async with connect(broker.url.replace("//", "//operator@"), wait_s=60) as client:
        yield client


async def _publish(bus: MqttBus, id: str) -> None:
    await bus.confirm(Message(topic="bench/a/in", payload=json.dumps({"id": id}).encode()))


async def _fired(client: Client) -> int:
    workflow = await client.deployed_workflow("Bench")
    return sum(int(trigger["fired"]) for trigger in workflow["triggers"])


async def _first(client: Client, bus: MqttBus) -> None:
    while not await _fired(client):
        with contextlib.suppress(ConnectionError):
            await _publish(bus, "first")
        await asyncio.sleep(0.2)


async def _messages(client: Client, bus: MqttBus) -> float:
    """Return messages per second, from the first publication to the commit of the last order."""
    before, began = await _fired(client), time.perf_counter()
    numbers = iter(range(MESSAGES))

    async def send() -> None:
        for number in numbers:
            await _publish(bus, f"m{number}")

    await asyncio.gather(*(send() for _ in range(20)))
    while await _fired(client) < before + MESSAGES:
        await asyncio.sleep(0.02)
    return MESSAGES / (time.perf_counter() - began)


async def _calls(port: int) -> tuple[float, float]:
    taken_ms = []
    async with httpx.AsyncClient() as http:
        for number in range(CALLS + 50):
            began = time.perf_counter()
            response = await http.post(f"http://127.0.0.1:{port}/i/bench", json={"id": number})
            response.raise_for_status()
            if number >= 50:
                taken_ms.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(taken_ms, n=100)
    return cuts[49], cuts[98]


async def _starts(client: Client, bus: MqttBus) -> float:
    """Return the milliseconds from a publication to the start of the order's first step."""
    taken_ms = []
    for number in range(STARTS + 10):
        seen = {order["order_id"] for order in await client.orders()}
        published_us = time.time() * 1e6
        await _publish(bus, f"s{number}")
        order: dict[str, Any] | None = None
        while order is None or order["status"] != "success":
            await asyncio.sleep(0.05)
            order = next((o for o in await client.orders() if o["order_id"] not in seen), None)
        events = await client.all_events(order["last_run"])
        start = next(event for event in events if event["type"] == "step:start")
        if number >= 10:
            taken_ms.append((int(start["timestamp"]) - published_us) / 1000)
    return statistics.median(taken_ms)
