"""``worker dev``: run a whole fleet on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from worker.cli.connection import BrokerConnection
from worker.cli.control_process import ControlOptions, build_control_plane
from worker.cli.dev_dashboard import DevDashboard
from worker.cli.options import (
    PATH,
    capacity,
    command,
    isolation,
    max_limits,
    no_python,
    option,
    permissions,
    store_workflows,
)
from worker.cli.services import interrupt_on_signals, on_signals, service_log
from worker.cli.value_types import WholeNumberRange
from worker.cli.worker_process import WorkerOptions, allowance, build_worker
from worker.fleet.control.inline_secrets import InlineSecrets
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.trigger_services import read_webhook_options
from worker.fleet.control.triggers.webhook_options import WebhookOptions
from worker.fleet.control.workflow_registry import WorkflowRegistry, read_workflows
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.topics import Topics
from worker.fleet.worker.run_executor import RunExecutor
from worker.runner.pool import Pool
from worker.sandbox.isolation import Isolation
from worker.sinks.log import LeveledLogger
from worker.sinks.terminal_text import printable, shell_word

DRAIN_S = 5.0
DEFAULT_PORT = 1883
_SAMPLE = '{"steps": [{"id": "a", "adaptor": "common", "expression": "fn(state => state)"}]}'
_MAX_NAMES = 8
_INPUT = ".input.json"


@command()
@click.argument("file", type=PATH, required=False)
@option("--webhooks", default="", metavar="HOST:PORT",
        help="Serve POST /i/PATH of webhook triggers here, such as 127.0.0.1:8080.")  # fmt: skip
@option("--port", type=WholeNumberRange(0, 65535), default=1883, show_default=True, metavar="PORT",
        help="Port of the broker; 0 for any that is free.")  # fmt: skip
@option("--dashboard-port", type=WholeNumberRange(0, 65535), default=8420, show_default=True,
        metavar="PORT", help="Port of the dashboard; 0 for any that is free.")  # fmt: skip
@option("--no-dashboard", is_flag=True, help="Start no dashboard.")
@option("--store", default="", metavar="URL", help="Database of the orders.  [default: in memory]")
@store_workflows
@capacity
@permissions
@no_python
@isolation
@max_limits
def dev(
    *,
    file: Path | None,
    webhooks: str,
    port: int,
    dashboard_port: int,
    no_dashboard: bool,
    store: str,
    workflows: tuple[Path, ...],
    capacity: int,
    isolation: str,
    no_python: bool,
    **allowed: Any,
) -> int:
    """Run a whole fleet with its dashboard, for a first try.

    It is a broker, a control plane, a worker and a dashboard, which listen on loopback only. The
    broker is mosquitto where it is installed, else that of pip install 'workflow-worker[broker]'.
    With FILE, its workflows are deployed with their triggers. Without it, orders can name the
    workflows of the current folder, or of --workflows. Python steps are allowed.

    \b
    Examples:
      worker dev
      worker dev --workflows graphs
      worker dev project.yaml --webhooks 127.0.0.1:8080
      worker dev --port 0 --dashboard-port 0 --store sqlite:///orders.db
    """
    # The names of a project that is deployed must not come from the folder too.
    workflows = workflows or (() if file is not None else (Path(),))
    registry = read_workflows(workflows)
    # The broker is a process of its own: it would keep its port.
    interrupt_on_signals()
    with (
        # A signal ends it well at any time, not only once it is up.
        contextlib.suppress(KeyboardInterrupt),
        # Outermost of the rest, as signals have their default, which kills, again when it closes.
        asyncio.Runner() as runner,
        tempfile.TemporaryDirectory(prefix="worker-dev-") as folder,
    ):
        control = ControlOptions(
            store=store or f"sqlite:///{folder}/orders.db",
            workflows=workflows,
            read_policy=lambda: Policy(allows_everything=True),
            secrets=InlineSecrets(allow=True),
            webhooks=read_webhook_options(webhooks),
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
            _run_fleet(
                runner,
                broker,
                control,
                worker,
                registry,
                None if no_dashboard else dashboard_port,
                file,
            )
    return 0


def _run_fleet(
    runner: asyncio.Runner,
    broker: Broker,
    control: ControlOptions,
    worker: WorkerOptions,
    registry: WorkflowRegistry,
    dashboard_port: int | None,
    project: Path | None,
) -> None:
    connection = BrokerConnection(address=parse_address(broker.url), topics=Topics())
    log = service_log(quiet=True)
    dashboard = None if dashboard_port is None else DevDashboard(connection, dashboard_port)
    store = Store(control.store)
    store.migrate()
    plane = build_control_plane(connection, control, store, log)

    async def greet() -> None:
        names = sorted(registry.workflows)
        if project is not None:
            names += await _deploy(connection, project, control.webhooks)
        elif control.webhooks is not None:
            address = f"http://{control.webhooks.host}:{control.webhooks.port}/i/PATH"
            print(f"webhooks: {address}, of workflows that worker deploy deploys")
        print("\n".join(_hello(broker, names, dashboard)), flush=True)

    runner.run(_run(broker, connection, plane, worker, log, greet, dashboard))
    store.close()


def _hello(broker: Broker, names: Sequence[str], dashboard: DevDashboard | None) -> Iterator[str]:
    """Yield what has started, and commands to type next, with names and files that exist."""
    listed = ", ".join(names[:_MAX_NAMES]) + (", …" if len(names) > _MAX_NAMES else "")
    yield f"broker ({broker.kind}): {broker.url}"
    yield f"workflows: {printable(listed) or 'none in this folder (--workflows names another)'}"
    if dashboard is not None:
        yield f"dashboard: {dashboard.address}"
    yield "policy: everything is allowed, and all orders may use all credentials of this worker"
    mqtt = "" if broker.port == DEFAULT_PORT else f" --mqtt {broker.url}"
    yield "try, in another terminal:"
    yield f"  {_order(names)} --wait{mqtt}"
    yield f"  worker runs{mqtt}"
    yield f"  worker watch{mqtt}"
    yield "Ctrl-C stops all of it (in the background, enter fg first)"


def _order(names: Sequence[str]) -> str:
    """Return a ``worker submit`` for a workflow, one with an input beside it if there is any."""
    if not names:
        return f"echo {shell_word(_SAMPLE)} | worker submit -"
    inputs = {file.name.removesuffix(_INPUT): file for file in sorted(Path().glob(f"*/*{_INPUT}"))}
    inputs |= {file.name.removesuffix(_INPUT): file for file in sorted(Path().glob(f"*{_INPUT}"))}
    name = next((name for name in names if name in inputs), names[0])
    input = f" --input {shell_word(str(inputs[name]))}" if name in inputs else ""
    return f"worker submit --ref {shell_word(name)}{input}"


async def _run(
    broker: Broker,
    connection: BrokerConnection,
    plane: ControlPlane,
    options: WorkerOptions,
    log: LeveledLogger,
    greet: Callable[[], Awaitable[None]],
    dashboard: DevDashboard | None,
) -> None:
    control_task = asyncio.create_task(plane.run())
    async with Pool(options.capacity, options.isolation) as pool:
        executor = RunExecutor(pool, options.allowance)
        fleet_worker = build_worker(connection, options, executor, log)

        def stop() -> None:
            fleet_worker.drain(options.drain_s)
            if dashboard is not None:
                dashboard.stop()

        on_signals(stop, at_once=broker.kill)
        worker_task = asyncio.create_task(fleet_worker.run())
        ready = asyncio.gather(plane.connected.wait(), fleet_worker.connected.wait())
        first: list[asyncio.Future[Any]] = [worker_task, ready]
        # A signal can end the worker before both are connected.
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not worker_task.done():
            await greet()
            if dashboard is not None:
                await dashboard.run()
        await worker_task
        await executor.close()
    # The control plane ends last: it receives the worker's last reports.
    control_task.cancel()
    await asyncio.gather(control_task, return_exceptions=True)


async def _deploy(
    connection: BrokerConnection, project: Path, webhooks: WebhookOptions | None
) -> list[str]:
    """Deploy a project, and print its workflows and the addresses of its webhooks."""
    async with connection.client() as client:
        results = await client.deploy(project)
        deployments = await client.deployments()
    for result in results:
        print(f"deployed: {printable(result['name'])}, {result['version'][:12]}")
    triggers = [trigger for each in deployments for trigger in each["triggers"]]
    for trigger in triggers:
        if webhooks is not None and trigger["type"] == "webhook":
            path = printable(trigger["path"])
            print(f"webhook: POST http://{webhooks.host}:{webhooks.port}/i/{path}")
    return [result["name"] for result in results]
