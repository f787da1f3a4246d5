"""Worker of a Lightning, built from the options of the command and OpenFn's environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from worker.adaptors.http.allowlist import HostPattern, parse_host_pattern
from worker.adaptors.install import require_programs
from worker.cli.kept_recordings import keep_recordings
from worker.cli.lightning_url import check_url
from worker.cli.services import on_signals, service_log
from worker.cli.worker_process import log_confinement
from worker.errors import UsageError
from worker.fleet.metrics import Metric, serve_metrics
from worker.lightning.adaptor_installer import AdaptorInstaller
from worker.lightning.channels import ChannelSocket, ChannelTimings
from worker.lightning.environment import EnvironmentSettings, read_environment
from worker.lightning.lightning_worker import LightningWorker, WorkerSettings
from worker.lightning.run_session import RunContext
from worker.lightning.run_store import RunStore
from worker.lightning.sandbox_runs import PUBLIC_HOSTS, SandboxRuns
from worker.lightning.worker_tokens import MIN_SECRET_BYTES, read_public_key, worker_token
from worker.runner.pool import Pool
from worker.runner.run_recording import StartRecording
from worker.sandbox.isolation import Isolation
from worker.sinks.log import LeveledLogger
from worker.version import VERSION
from worker.workflow.documents.document import read_text

API_VERSION = "1.2"


@dataclass(frozen=True, slots=True, kw_only=True)
class LightningOptions:
    """Options of the command. Without ``drain_s`` runs may take as long as they need.

    ``installs`` are packages to install besides OpenFn's; ``None``: nothing is installed.
    """

    url: str
    name: str
    outbox: Path
    capacity: int | None = None
    secret_file: Path | None = None
    isolation: Isolation = Isolation.RUNNER
    allow_hosts: tuple[str, ...] = ()
    public_hosts: bool = True
    installs: tuple[str, ...] | None = None
    record: str | None = None
    batch_logs: bool = False
    drain_s: float | None = None
    metrics_listen: str | None = None
    quiet: bool = False


async def run_lightning(options: LightningOptions) -> None:
    """Run a worker until a signal comes and its runs are finished."""
    settings = read_environment(os.environ, options.capacity, batch_logs=options.batch_logs)
    log = service_log(quiet=options.quiet or settings.quiet)
    if settings.ignored:
        log.warning("settings.ignored", variables=settings.ignored)
    secret = read_secret(options.secret_file, settings.secret)
    if len(secret.encode()) < MIN_SECRET_BYTES:
        log.warning("secret.short", at_least_bytes=MIN_SECRET_BYTES)
    check_url(options.url, "ws", "wss", form="ws[s]://HOST[:PORT]/worker")
    if options.installs is not None:
        require_programs()
    log_confinement(log)
    slots = sum(workloop.capacity for workloop in settings.workloops)
    with keep_recordings(options.record, options.name, log) as recordings:
        async with Pool(slots, options.isolation) as pool:
            loop = asyncio.get_running_loop()
            worker = build_lightning_worker(options, settings, secret, pool, log, recordings.start)
            with serve_metrics(
                options.metrics_listen or settings.listen or None,
                lambda: lightning_metrics(worker),
                lambda: "" if worker.connected.is_set() else "not connected",
                lambda: worker.stalled,
                # As OpenFn's worker: somebody who tests does not want to wait for the next claim.
                {"/claim": lambda: loop.call_soon_threadsafe(worker.claim_now)},
            ):
                on_signals(lambda: worker.drain(options.drain_s))
                await worker.run()


def build_lightning_worker(
    options: LightningOptions,
    settings: EnvironmentSettings,
    secret: str,
    pool: Pool,
    log: LeveledLogger,
    start_recording: StartRecording | None,
) -> LightningWorker:
    """Build a worker that is not connected yet."""
    parameters = {
        "token": worker_token(secret, options.name),
        "api_version": API_VERSION,
        "worker_version": VERSION,
    }
    sandbox = SandboxRuns(
        pool,
        hosts=allowed_hosts(options),
        start_recording=start_recording,
        installer=None if options.installs is None else AdaptorInstaller(options.installs, log),
    )
    context = RunContext(
        socket=ChannelSocket(
            options.url, parameters, log, ChannelTimings(reply_s=settings.reply_s)
        ),
        sandbox=sandbox,
        store=RunStore(options.outbox),
        log=log,
        defaults=settings.defaults,
        batches=settings.batches,
    )
    return LightningWorker(
        WorkerSettings(
            name=options.name,
            workloops=settings.workloops,
            backoff=settings.backoff,
            public_key=read_public_key(settings.public_key) if settings.public_key else None,
            claim_timeout_s=settings.claim_s,
        ),
        context,
    )


def read_secret(file: Path | None, variable: str) -> str:
    """Return the secret of the file, or else of the variable. Raises :class:`UsageError`."""
    if file is None:
        if not variable:
            raise UsageError("Lightning needs a secret: add --secret-file FILE, or WORKER_SECRET")
        return variable
    secret = read_text(file).strip()
    if not secret:
        raise UsageError(f"the file {file} has no secret")
    return secret


def allowed_hosts(options: LightningOptions) -> tuple[HostPattern, ...]:
    """Return the hosts that all runs reach, beside those of their credentials."""
    allowed = tuple(parse_host_pattern(text) for text in options.allow_hosts)
    return (PUBLIC_HOSTS, *allowed) if options.public_hosts else allowed


def lightning_metrics(worker: LightningWorker) -> Iterable[Metric]:
    yield Metric(name="runs_held", help="Runs under way", values={"": worker.running})
    yield Metric(
        name="runs_finished", help="Runs finished", values={"": worker.finished}, counts=True
    )
    yield Metric(
        name="lightning_runs_ended",
        help="Runs finished, by status and by error type",
        values={f"{end.status},{end.error_type}": count for end, count in worker.ends.items()},
        label="status,error_type",
        counts=True,
    )
    yield Metric(
        name="connected",
        help="1 while connected to Lightning, else 0",
        values={"": float(worker.connected.is_set())},
    )
