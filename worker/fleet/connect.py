"""Clients without the commands: of a fleet on a broker, or of one in this very process.

async with worker.fleet.connect("mqtt://localhost") as client:
    order = await client.submit(workflow="referral", input={"data": {}})
    run = await client.wait(order["last_run"])

async with worker.local_fleet() as client:      # no broker, for tests and embedding
    ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from worker.fleet.client import Client, client_name
from worker.fleet.control.control_plane import ControlPlane
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import read_library
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.topics import ROOT, Topics
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.runner.pool import Pool
from worker.sinks.log import stderr_logger

QUIET = logging.CRITICAL


def connect(
    url: str,
    *,
    root: str = ROOT,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    wait_s: float = 10.0,
) -> Client:
    """A client of the control plane that is on a broker; use it with ``async with``."""
    from worker.fleet.messaging.address import address
    from worker.fleet.messaging.mqtt import MqttBus

    name = client_name()
    bus = MqttBus(address(url, ca=ca, cert=cert, key=key), id=name)
    return Client(bus, Topics(root), wait_s=wait_s, name=name)


@contextlib.asynccontextmanager
async def local_fleet(
    *,
    capacity: int = 2,
    store: str = "sqlite://",
    workflows: Iterable[str | Path] = (),
    policy: Policy = Policy(),
    allowance: Allowance = Allowance(),
    settings: Settings = Settings(),
) -> AsyncIterator[Client]:
    """A control plane, a worker and a client in this process, with no broker between them."""
    topics, broker, log = Topics(), LocalBroker(), stderr_logger(QUIET)
    kept = Store(store)
    kept.migrate()
    library = read_library(Path(one) for one in workflows)
    plane = MessageProcessor(kept, topics=topics, settings=settings, policy=policy, library=library)
    control = ControlPlane(broker.bus(*topics.for_control()), plane, topics=topics, log=log)
    with tempfile.TemporaryDirectory(prefix="worker-outbox-") as folder:
        async with Pool(size=capacity) as pool:
            executor = RunExecutor(pool, allowance)
            agent = FleetWorker(
                broker.bus(*topics.for_worker("local")),
                executor,
                Outbox(Path(folder)),
                name="local",
                capacity=capacity,
                topics=topics,
                log=log,
            )
            tasks = [asyncio.create_task(party.run()) for party in (control, agent)]
            try:
                async with Client(broker.bus(), topics) as client:
                    yield client
            finally:
                for task in reversed(tasks):
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                await executor.close()
                kept.close()
