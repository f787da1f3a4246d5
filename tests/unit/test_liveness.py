"""``/health/live`` of the workers: their event loop is watched, and a stop is reported."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from tests.support.scripted_worker import HostileExecutor
from worker.cli import lightning_process, worker_process
from worker.fleet.messaging.broker import free_port
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.topics import Topics
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.lightning.lightning_worker import LightningWorker, WorkerSettings
from worker.sinks.log import stderr_logger
from worker.util import machine_clock
from worker.util.liveness import STALLED_S, Liveness


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(machine_clock, "monotonic_s", lambda: clock[0])
    return clock


def test_silence_over_the_limit_is_a_stall(now: list[float]) -> None:
    watched = Liveness()
    now[0] += STALLED_S
    assert watched.stalled == ""
    now[0] += 1
    assert watched.stalled == "the event loop has done nothing for 121 s"
    watched.mark()
    assert watched.stalled == ""


async def _until_alive(worker: FleetWorker | LightningWorker, work: Any) -> None:
    assert "has done nothing" in worker.stalled
    task = asyncio.ensure_future(work)
    async with asyncio.timeout(30):
        while worker.stalled:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_of_a_fleet_marks_each_turn(now: list[float], tmp_path: Path) -> None:
    topics = Topics()
    worker = FleetWorker(
        LocalBroker().bus(*topics.for_worker("w")), HostileExecutor({}), Outbox(tmp_path / "outbox"),
        name="w", capacity=1, topics=topics, log=stderr_logger(logging.CRITICAL),
    )  # fmt: skip
    now[0] += 2 * STALLED_S
    await _until_alive(worker, worker.run())


async def test_a_worker_of_lightning_marks_while_it_waits(now: list[float]) -> None:
    context: Any = SimpleNamespace(log=stderr_logger(logging.CRITICAL))
    worker = LightningWorker(WorkerSettings(name="w", workloops=()), context)
    now[0] += 2 * STALLED_S
    await _until_alive(worker, worker._mark_alive())


class StalledWorker:
    """A worker that gets a probe of its own process, and ends."""

    stalled = problem = "the event loop has done nothing for 200 s"

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/health/live"

    async def run(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            self.response = await http.get(self._url)


@pytest.mark.slow
async def test_a_stalled_worker_has_to_be_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port()
    of_fleet, of_lightning = StalledWorker(port), StalledWorker(port)
    monkeypatch.setattr(worker_process, "build_worker", lambda *_: of_fleet)
    monkeypatch.setattr(lightning_process, "build_lightning_worker", lambda *_: of_lightning)
    for module in (worker_process, lightning_process):
        monkeypatch.setattr(module, "on_signals", lambda handler: None)
    monkeypatch.setenv("WORKER_SECRET", "secret")
    connection: Any = None
    outbox, address = tmp_path / "outbox", str(port)
    await worker_process.run_worker(
        connection,
        worker_process.WorkerOptions(name="w", capacity=1, outbox=outbox, metrics_listen=address),
        quiet=True,
    )
    await lightning_process.run_lightning(
        lightning_process.LightningOptions(
            url="ws://127.0.0.1:1/worker",
            name="w",
            outbox=outbox,
            metrics_listen=address,
            quiet=True,
        )
    )
    for worker in (of_fleet, of_lightning):
        assert (worker.response.status_code, worker.response.text.strip()) == (503, worker.stalled)
