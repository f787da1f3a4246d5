"""A whole fleet in one process, without a broker: for tests and for embedding.

async with worker.local_fleet(workflows=["graphs"]) as client:
    order = await client.submit(workflow="referral", input={"data": {}})
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from worker.fleet.client import Client
from worker.fleet.control.alerts import AlertNotifier
from worker.fleet.control.inline_secrets import InlineSecrets
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.trigger_services import (
    add_trigger_services,
    deployment_rules,
    read_webhook_options,
)
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import read_workflows
from worker.fleet.messaging.in_memory import LocalBroker, LocalTopicSource
from worker.fleet.messaging.topics import Topics
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.fleet.worker.worker_publisher import WorkerOffer
from worker.runner.pool import Pool
from worker.sinks.log import stderr_logger

QUIET = logging.CRITICAL


@contextlib.asynccontextmanager
async def local_fleet(
    *,
    capacity: int = 2,
    store: str = "sqlite://",
    workflows: Iterable[str | Path] = (),
    policy: Policy = Policy(allows_everything=True),
    allowance: Allowance = Allowance(),
    settings: Settings = Settings(),
    notifier: AlertNotifier = AlertNotifier(),
    labels: Iterable[str] = (),
    webhooks: str = "",
    webhook_auth: str | Path | None = None,
    open_webhooks: bool = False,
) -> AsyncIterator[Client]:
    """Run a control plane and a worker in this process and yield a client of them.

    ``capacity`` is how many runs execute at once, ``store`` the URL of the database (in memory by
    default), ``workflows`` the files that orders can name, ``labels`` those of the worker. The
    default policy allows everything, and is logged; configurations with secrets are stored as they
    are in a database in memory, and refused for any other. ``webhooks`` is ``HOST:PORT`` for calls,
    with the methods of the file ``webhook_auth``; ``open_webhooks`` allows calls without
    authentication from elsewhere. Runs that have not ended when the ``async with`` block does are
    killed.
    """
    topics, broker, log = Topics(), LocalBroker(), stderr_logger(QUIET)
    database = Store(store)
    database.migrate()
    registry = read_workflows(map(Path, workflows))
    if policy.allows_everything:
        logging.getLogger(__name__).info("policy.allows_everything")
    options = read_webhook_options(webhooks, auth=webhook_auth, open=open_webhooks)
    processor = MessageProcessor(
        database,
        topics=topics,
        settings=settings,
        policy=policy,
        registry=registry,
        secrets_at_rest=InlineSecrets(allow=store == "sqlite://"),
        rules=deployment_rules(options),
    )
    control = ControlPlane(
        broker.bus(*topics.for_control()), processor, topics=topics, log=log, notifier=notifier
    )
    add_trigger_services(control, lambda: LocalTopicSource(broker), log, webhooks=options)
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
                offer=WorkerOffer(labels=tuple(labels)),
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
