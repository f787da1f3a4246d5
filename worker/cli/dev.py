"""``worker dev``: run a whole fleet on this machine."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from worker.cli.connection import BrokerConnection
from worker.cli.control_process import ControlOptions, build_control_plane
from worker.cli.options import (
    capacity,
    command,
    isolation,
    max_limits,
    no_python,
    option,
    permissions,
    store_workflows,
)
from worker.cli.services import on_signals, service_log
from worker.cli.values import WholeNumberRange
from worker.cli.worker_process import WorkerOptions, allowance, build_worker
from worker.fleet.control.inline_secrets import InlineSecrets
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.topics import Topics
from worker.fleet.worker.run_executor import RunExecutor
from worker.runner.pool import Pool
from worker.sandbox.isolation import Isolation
from worker.sinks.log import LeveledLogger

DRAIN_S = 5.0


@command()
@option("--port", type=WholeNumberRange(0, 65535), default=0, metavar="PORT",
        help="Port of the broker.  [default: any that is free]")  # fmt: skip
@option("--store", default="", metavar="URL", help="Database of the orders.  [default: in memory]")
@store_workflows
@capacity
@permissions
@no_python
@isolation
@max_limits
def dev(
    *,
    port: int,
    store: str,
    workflows: tuple[Path, ...],
    capacity: int,
    isolation: str,
    no_python: bool,
    **allowed: Any,
) -> int:
    """Run a broker, a control plane and a worker, for a first try.

    The broker is mosquitto where it is installed, else the one of
    pip install 'workflow-worker[broker]'. It listens on loopback only. Python steps are allowed.

    \b
    Examples:
      worker dev
      worker dev --port 1883 --workflows graphs
    """
    with tempfile.TemporaryDirectory(prefix="worker-dev-") as folder:
        control = ControlOptions(
            store=store or f"sqlite:///{folder}/orders.db",
            workflows=workflows,
            policy=Policy(allows_everything=True),
            secrets=InlineSecrets(allow=True),
        )
        worker = WorkerOptions(
            name="dev",
            capacity=capacity,
            outbox=Path(folder) / "outbox",
            isolation=Isolation(isolation),
            allowance=allowance(allow_python=not no_python, **allowed),
            drain_s=DRAIN_S,
        )
        with Broker(port=port) as broker:
            _run_fleet(broker, control, worker)
    return 0


def _run_fleet(broker: Broker, control: ControlOptions, worker: WorkerOptions) -> None:
    connection = BrokerConnection(address=parse_address(broker.url), topics=Topics())
    log = service_log(quiet=True)
    store = Store(control.store)
    store.migrate()
    plane = build_control_plane(connection, control, store, log)
    hello = (
        f"a broker ({broker.kind}) at {broker.url}, a control plane and a worker have started\n"
        f"  try: worker submit WORKFLOW --input STATE --wait --mqtt {broker.url}\n"
        "  the policy allows everything: all orders may use all credentials of this worker\n"
        "  Ctrl-C stops them (in the background, enter fg first)"
    )
    asyncio.run(_run(connection, plane, worker, log, hello))
    store.close()


async def _run(
    connection: BrokerConnection,
    plane: ControlPlane,
    options: WorkerOptions,
    log: LeveledLogger,
    hello: str,
) -> None:
    control_task = asyncio.create_task(plane.run())
    async with Pool(options.capacity, options.isolation) as pool:
        executor = RunExecutor(pool, options.allowance)
        fleet_worker = build_worker(connection, options, executor, log)
        on_signals(lambda: fleet_worker.drain(options.drain_s))
        worker_task = asyncio.create_task(fleet_worker.run())
        ready = asyncio.gather(plane.connected.wait(), fleet_worker.connected.wait())
        first: list[asyncio.Future[Any]] = [worker_task, ready]
        # A signal can end the worker before both are connected.
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not worker_task.done():
            print(hello, flush=True)
        await worker_task
        await executor.close()
    # The control plane ends last: it receives the worker's last reports.
    control_task.cancel()
    await asyncio.gather(control_task, return_exceptions=True)
