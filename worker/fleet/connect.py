"""Clients for Python programs: of a fleet on a broker, or of one in this process.

async with worker.connect("mqtt://localhost") as client:
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
from worker.fleet.control.alerts import AlertNotifier
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import read_workflows
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
    topic_prefix: str = ROOT,
    ca: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    wait_s: float = 10.0,
) -> Client:
    """Return a client of the control plane on a broker, for use with ``async with``.

    ``url`` is ``mqtt[s]://[name:password@]host[:port]``, ``topic_prefix`` the first level of all
    topics, ``wait_s`` how long a reply may take; the files are for TLS. Raises
    :class:`UsageError` on a wrong url.
    """
    # A program that embeds a local fleet needs no MQTT.
    from worker.fleet.messaging.address import parse_address
    from worker.fleet.messaging.mqtt import MqttBus

    name = client_name()
    bus = MqttBus(parse_address(url, ca=ca, cert=cert, key=key), id=name)
    return Client(bus, Topics(topic_prefix), wait_s=wait_s, name=name)


@contextlib.asynccontextmanager
async def local_fleet(
    *,
    capacity: int = 2,
    store: str = "sqlite://",
    workflows: Iterable[str | Path] = (),
    policy: Policy = Policy(),
    allowance: Allowance = Allowance(),
    settings: Settings = Settings(),
    notifier: AlertNotifier = AlertNotifier(),
) -> AsyncIterator[Client]:
    """Run a control plane and a worker in this process and yield a client of them.

    ``capacity`` is how many runs execute at once, ``store`` the URL of the database (in memory by
    default), ``workflows`` the files that orders can name. Runs that have not ended when the
    ``async with`` block does are killed.
    """
    topics, broker, log = Topics(), LocalBroker(), stderr_logger(QUIET)
    database = Store(store)
    database.migrate()
    registry = read_workflows(map(Path, workflows))
    processor = MessageProcessor(
        database, topics=topics, settings=settings, policy=policy, registry=registry
    )
    control = ControlPlane(
        broker.bus(*topics.for_control()), processor, topics=topics, log=log, notifier=notifier
    )
    with tempfile.TemporaryDirectory(prefix="worker-outbox-") as folder:
        async with Pool(size=capacity) as pool:
            executor = RunExecutor(pool, allowance)
            fleet_worker = FleetWorker(
                broker.bus(*topics.for_worker("local")),
                executor,
                Outbox(Path(folder)),
                name="local",
                capacity=capacity,
                topics=topics,
                log=log,
            )
            tasks = [asyncio.create_task(service.run()) for service in (control, fleet_worker)]
            try:
                async with Client(broker.bus(), topics) as client:
                    yield client
            finally:
                # The worker first: what it publishes while it stops still has a receiver.
                for task in reversed(tasks):
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                await executor.close()
                database.close()
