"""``worker control``, ``worker serve`` and ``worker dev``: the parties that stay."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from worker.adaptors.http.allowlist import named
from worker.cli.connection import BrokerConnection
from worker.errors import UsageError
from worker.fleet import messaging as transports
from worker.fleet.control.alerts import AlertNotifier
from worker.fleet.control.control_plane import ControlPlane, control_will
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy, read_policy
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import WorkflowRegistry, read_library
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.cloudevents import dresser
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.topics import Topics, check_name
from worker.fleet.metrics import Metric, serve_metrics
from worker.fleet.worker.fleet_worker import FleetWorker, worker_will
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.runner.pool import Pool
from worker.sandbox.limits import Limits
from worker.sinks.log import Log, logger

# --- the control plane ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOptions:
    """How a control plane is set up."""

    store: str
    workflows: tuple[Path, ...] = ()
    policy: Path | None = None
    settings: Settings = Settings()
    superuser: AlertNotifier = AlertNotifier()
    cloudevents: bool = False
    shared: bool = False
    http: str | None = None


def control(place: BrokerConnection, options: ControlOptions, *, quiet: bool) -> int:
    """Be a control plane until a signal comes."""
    log = _log(quiet)
    store = Store(options.store)
    store.migrate()
    service = _control(place, options, store, _library(options, log), log)
    with serve_metrics(options.http, lambda: control_figures(service), service.connected.is_set):
        asyncio.run(_until_signal(service.run()))
    store.close()
    return 0


def print_document(name: str) -> int:
    """Print a document that comes with the package."""
    print((Path(transports.__file__).parent / name).read_text(encoding="utf-8"), end="")
    return 0


def _library(options: ControlOptions, log: Log) -> WorkflowRegistry:
    library = read_library(options.workflows)
    for problem in library.problems:
        log.warning("a file is no workflow that can be named", why=problem)
    return library


def _control(
    place: BrokerConnection,
    options: ControlOptions,
    store: Store,
    library: WorkflowRegistry,
    log: Log,
) -> ControlPlane:
    id = incarnation()
    plane = MessageProcessor(
        store,
        topics=place.topics,
        settings=options.settings,
        policy=read_policy(options.policy) if options.policy else Policy(),
        library=library,
    )
    bus = MqttBus(
        place.address,
        *place.topics.for_control(shared=options.shared),
        id=f"control-{id}",
        will=control_will(place.topics, id),
    )
    dress: Callable[[Message], Message] = lambda message: message  # noqa: E731
    if options.cloudevents:
        dress = dresser(place.topics, f"/{place.topics.base}/control")
    return ControlPlane(
        bus, plane, topics=place.topics, log=log, id=id, superuser=options.superuser, dress=dress
    )


def control_figures(service: ControlPlane) -> Iterable[Metric]:
    """What a control plane counts."""
    yield Metric(
        name="messages_handled", help="Messages handled", values={"": service.handled}, counts=True
    )
    yield Metric(
        name="messages_refused",
        help="Messages refused, by the kind of refusal",
        values=dict(service.refused),
        label="kind",
        counts=True,
    )
    yield Metric(
        name="runs_ended",
        help="Runs ended, by status (and orders rejected)",
        values=dict(service.ended),
        label="status",
        counts=True,
    )
    yield Metric(
        name="connected",
        help="Whether the broker is there",
        values={"": float(service.connected.is_set())},
    )


# --- a worker -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker is set up. ``drain_s`` is how long it may take to leave."""

    name: str
    capacity: int
    outbox: Path
    allowance: Allowance = Allowance()
    drain_s: float = 30.0
    http: str | None = None


def serve(place: BrokerConnection, options: WorkerOptions, *, quiet: bool) -> int:
    """Be a worker until a signal comes, and everything is finished or handed back."""
    check_name(options.name, "the name of a worker")
    return asyncio.run(_serve(place, options, _log(quiet)))


async def _serve(place: BrokerConnection, options: WorkerOptions, log: Log) -> int:
    async with Pool(size=options.capacity) as pool:
        executor = RunExecutor(pool, options.allowance)
        agent = _agent(place, options, executor, log)
        with serve_metrics(options.http, lambda: worker_figures(agent), agent.connected.is_set):
            _on_signals(lambda: agent.drain(options.drain_s))
            await agent.run()
        await executor.close()
    return 0


def _agent(
    place: BrokerConnection, options: WorkerOptions, executor: RunExecutor, log: Log
) -> FleetWorker:
    id = incarnation()
    bus = MqttBus(
        place.address,
        *place.topics.for_worker(options.name),
        id=f"worker-{options.name}",
        will=worker_will(place.topics, options.name, id),
    )
    return FleetWorker(
        bus,
        executor,
        Outbox(options.outbox),
        name=options.name,
        capacity=options.capacity,
        topics=place.topics,
        log=log,
        id=id,
    )


def worker_figures(agent: FleetWorker) -> Iterable[Metric]:
    """What a worker counts."""
    yield Metric(name="runs_held", help="Runs under way", values={"": agent.running})
    yield Metric(
        name="runs_finished", help="Runs finished", values={"": agent.finished}, counts=True
    )
    yield Metric(
        name="connected",
        help="Whether the broker is there",
        values={"": float(agent.connected.is_set())},
    )


def allowance(
    *,
    credentials: dict[str, Any],
    hosts: tuple[str, ...],
    no_python: bool,
    timeout: float | None,
    memory: int | None,
) -> Allowance:
    """What runs may have on this worker."""
    most = Limits(timeout_s=timeout or 86_400.0, memory_mb=memory or 1_000_000)
    return Allowance(
        credentials=credentials,
        hosts=tuple(named(text) for text in hosts),
        allow_python=not no_python,
        most=most,
    )


# --- both, and a broker ---------------------------------------------------------------------------


def dev(control_options: ControlOptions, worker_options: WorkerOptions, port: int) -> int:
    """A broker, a control plane and a worker, for a first try."""
    from worker.fleet.messaging.address import address
    from worker.fleet.messaging.broker import Broker

    with Broker(port=port) as broker:
        place = BrokerConnection(address=address(broker.url), topics=Topics())
        log = _log(quiet=True)
        store = Store(control_options.store)
        store.migrate()
        service = _control(place, control_options, store, _library(control_options, log), log)
        hello = (
            f"a broker ({broker.kind}) at {broker.url}, a control plane and a worker are there\n"
            f"  try: worker submit graphs/referral.yaml --wait --mqtt {broker.url}\n"
            "  Ctrl-C ends them"
        )
        asyncio.run(_dev(place, service, worker_options, log, hello))
        store.close()
    return 0


async def _dev(
    place: BrokerConnection, service: ControlPlane, options: WorkerOptions, log: Log, hello: str
) -> None:
    controlling = asyncio.create_task(service.run())
    async with Pool(size=options.capacity) as pool:
        executor = RunExecutor(pool, options.allowance)
        agent = _agent(place, options, executor, log)
        _on_signals(lambda: agent.drain(min(options.drain_s, 5.0)))
        working = asyncio.create_task(agent.run())
        ready = asyncio.gather(service.connected.wait(), agent.connected.wait())
        first: list[asyncio.Future[Any]] = [working, ready]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            print(hello, flush=True)
        await working
        await executor.close()
    controlling.cancel()
    await asyncio.gather(controlling, return_exceptions=True)


# --- signals --------------------------------------------------------------------------------------


async def _until_signal(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    _on_signals(task.cancel)
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def _on_signals(act: Callable[[], object]) -> None:
    """The first Ctrl-C or SIGTERM asks, the second does not."""
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            os._exit(1)
        asked.set()
        act()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


def _log(quiet: bool) -> Log:
    found: Log = logger(logging.WARNING if quiet else logging.INFO)
    return found


def settings(*, lease: float, grace: float, keep_days: float, payload_mb: float) -> Settings:
    """The settings of a control plane, from what people write."""
    if grace > lease:
        raise UsageError(
            "--grace is how much of the lease is left after a break: it cannot be more"
        )
    return replace(
        Settings(),
        lease_s=lease,
        grace_s=grace,
        keep_s=keep_days * 86_400,
        payload_limit=int(payload_mb * 2**20),
    )
