"""Worker of a fleet, built from the options of the command."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.adaptors.cache import installed
from worker.adaptors.collections.settings import parse_collections
from worker.adaptors.http.allowlist import parse_host_pattern
from worker.cli.connection import BrokerConnection
from worker.cli.files import read_credentials
from worker.cli.kept_recordings import keep_recordings
from worker.cli.services import on_signals, service_log
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.metrics import Metric, dropped_metric, invariants_metric, serve_metrics
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.fleet.worker.worker_publisher import WorkerOffer, worker_will
from worker.runner.pool import Pool
from worker.sandbox.confinement.layers import layers, missing_layers
from worker.sandbox.isolation import Isolation
from worker.sandbox.limits import resolve_limits
from worker.sinks.log import LeveledLogger
from worker.util.machine_clock import random_hex
from worker.util.memory_use import resident_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """Set-up of a worker.

    ``drain_s`` is how long its runs may take to end at shutdown; ``None``: as their limits allow.
    ``record`` is the folder or URL of the recordings of its runs.
    ``standby``: it waits while another worker has its name.
    """

    name: str
    capacity: int
    outbox: Path
    isolation: Isolation = Isolation.RUNNER
    allowance: Allowance = Allowance()
    drain_s: float | None = None
    standby: bool = False
    metrics_listen: str | None = None
    labels: tuple[str, ...] = ()
    record: str | None = None


def allowance(
    *,
    credentials: Path | None,
    allow_hosts: tuple[str, ...],
    allow_python: bool,
    collections: str | None,
    **max_limits: float | None,
) -> Allowance:
    """Build the allowance of a worker's runs from the options; ``max_limits`` are its caps."""
    return Allowance(
        credentials=dict(read_credentials(credentials)),
        hosts=tuple(parse_host_pattern(text) for text in allow_hosts),
        allow_python=allow_python,
        collections=parse_collections(collections),
        max_limits=resolve_limits({}, max_limits),
    )


async def run_worker(connection: BrokerConnection, options: WorkerOptions, *, quiet: bool) -> None:
    """Run a worker until a signal comes and its runs are finished or handed back."""
    log = service_log(quiet=quiet)
    log_confinement(log)
    with keep_recordings(options.record, options.name, log) as recordings:
        async with Pool(options.capacity, options.isolation) as pool:
            executor = RunExecutor(pool, options.allowance, recordings.start)
            fleet_worker = build_worker(connection, options, executor, log, recordings.erase)
            with serve_metrics(
                options.metrics_listen,
                lambda: worker_metrics(fleet_worker),
                lambda: fleet_worker.problem,
                lambda: fleet_worker.stalled,
            ):
                on_signals(lambda: fleet_worker.drain(options.drain_s))
                await fleet_worker.run()
            await executor.close()


def log_confinement(log: LeveledLogger) -> None:
    """Log which layers of confinement the processes of runs have here."""
    applied = [layer.name for layer in layers() if layer.is_on]
    missing = {layer.name: layer.missing for layer in layers() if not layer.is_on}
    write = log.warning if missing_layers() else log.info
    write("runs.confined", layers=applied, missing=missing)


def build_worker(
    connection: BrokerConnection,
    options: WorkerOptions,
    executor: RunExecutor,
    log: LeveledLogger,
    erase_recordings: Callable[[str], int] = lambda run_id: 0,
) -> FleetWorker:
    """Build a worker that is not connected yet."""
    id = incarnation()
    bus = MqttBus(
        connection.address,
        *connection.topics.for_worker(options.name),
        # A client id that nobody can guess: whoever connects with the same one takes it over.
        max_packet_bytes=connection.max_packet_bytes,
        id=f"worker-{options.name}-{id}-{random_hex(8)}",
        will=worker_will(connection.topics, options.name, id),
    )
    return FleetWorker(
        bus,
        executor,
        Outbox(options.outbox),
        name=options.name,
        capacity=options.capacity,
        topics=connection.topics,
        log=log,
        id=id,
        erase_recordings=erase_recordings,
        offer=WorkerOffer(
            labels=options.labels,
            credentials=tuple(options.allowance.credentials),
            adaptors=tuple(str(adaptor.specifier) for adaptor in installed()),
        ),
        standby=options.standby,
        broker=str(connection.address),
    )


def worker_metrics(fleet_worker: FleetWorker) -> Iterable[Metric]:
    events, oldest_s = fleet_worker.unacknowledged
    yield invariants_metric()
    yield dropped_metric(fleet_worker.dropped_messages)
    yield Metric(name="outbox_events", help="Events that are not acknowledged yet",
                 values={"": events})  # fmt: skip
    yield Metric(name="outbox_oldest_seconds",
                 help="Time since the oldest report was sent that is not acknowledged",
                 values={"": oldest_s})  # fmt: skip
    yield Metric(name="slots", help="Runs that execute at once", values={"": fleet_worker.capacity})
    yield Metric(name="memory_bytes", help="Resident memory of the worker, without its runs",
                 values={"": resident_bytes()})  # fmt: skip
    yield Metric(name="runs_held", help="Runs under way", values={"": fleet_worker.running})
    yield Metric(
        name="runs_finished", help="Runs finished", values={"": fleet_worker.finished}, counts=True
    )
    yield Metric(
        name="reports_set_aside",
        help="Runs and files whose events cannot be reported, and are in the dead letters",
        values={"": fleet_worker.set_aside},
        counts=True,
    )
    yield Metric(
        name="connected",
        help="1 while connected to the broker, else 0",
        values={"": float(fleet_worker.connected.is_set())},
    )
