"""Plans for the stand-in for Lightning, and workers that are attached to it."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.adaptors.http.allowlist import HostPattern
from worker.adaptors.names import Specifier
from worker.lightning.adaptor_installer import AdaptorInstaller
from worker.lightning.channels import ChannelSocket, ChannelTimings
from worker.lightning.claim_loop import Backoff, Workloop
from worker.lightning.delivery import LogBatches
from worker.lightning.lightning_worker import LightningWorker, WorkerSettings
from worker.lightning.run_plan import RunDefaults
from worker.lightning.run_session import RunContext
from worker.lightning.run_store import RunStore
from worker.lightning.sandbox_runs import PUBLIC_HOSTS, SandboxRuns
from worker.lightning.worker_tokens import read_public_key, worker_token
from worker.runner.pool import Pool
from worker.runner.run_recording import StartRecording
from worker.testing.lightning import Server

COMMON = "@openfn/language-common@3.3.4"
OFTEN = Backoff(0.02, 0.05)
QUICK = ChannelTimings(reply_s=5.0, reconnect_s=0.02, rejoin_s=(0.02, 0.05))


def new_id() -> str:
    return str(uuid.uuid4())


def job(body: str, **fields: Any) -> dict[str, Any]:
    named = {"id": new_id(), "name": "job", "adaptor": COMMON, "credential_id": None}
    return {**named, "body": body, **fields}


def edge(
    source: dict[str, Any], target: dict[str, Any], condition: str = "always"
) -> dict[str, Any]:
    return {
        "id": new_id(), "source_trigger_id": None, "source_job_id": source["id"],
        "target_job_id": target["id"], "condition": condition, "enabled": True,
    }  # fmt: skip


def plan(
    *jobs: dict[str, Any], edges: list[dict[str, Any]] | None = None, **fields: Any
) -> dict[str, Any]:
    """Return a plan in which a trigger leads to the first job; without edges, to a chain of all."""
    trigger = new_id()
    first = {
        "id": new_id(), "source_trigger_id": trigger, "source_job_id": None,
        "target_job_id": jobs[0]["id"], "condition": "always", "enabled": True,
    }  # fmt: skip
    if edges is None:
        edges = [edge(a, b) for a, b in itertools.pairwise(jobs)]
    named = {"triggers": [{"id": trigger}], "jobs": list(jobs), "edges": [first, *edges]}
    return {**named, "starting_node_id": trigger, **fields}


@dataclass
class LogLines:
    """Logger that keeps what was logged: the names of events with their fields."""

    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def _add(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    critical = warning = info = _add

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.lines]


@dataclass
class Attached:
    """A worker of a stand-in, and the task that it runs in."""

    worker: LightningWorker
    task: asyncio.Task[None]
    log: LogLines
    socket: ChannelSocket

    def expire(self, event: str, run_id: str) -> None:
        """Let the time of a request that waits for its reply be over."""
        (waiting,) = (
            pending
            for pending in self.socket._pending._pending.values()
            if (pending.event, pending.topic) == (event, f"run:{run_id}")
        )
        waiting.expire()

    async def drained(self, timeout_s: float | None = None) -> None:
        """Drain the worker and wait until it has ended."""
        self.worker.drain(timeout_s)
        await asyncio.wait_for(self.task, 30)


@asynccontextmanager
async def attached(
    server: Server,
    pool: Pool,
    *,
    name: str = "w",
    capacity: int = 2,
    workloops: tuple[Workloop, ...] = (),
    backoff: Backoff = OFTEN,
    outbox: Path | None = None,
    secret: str = "",
    public_key: str | None = "",
    batches: LogBatches | None = None,
    timings: ChannelTimings = QUICK,
    defaults: RunDefaults | None = None,
    start_recording: StartRecording | None = None,
    install: Callable[[Specifier], object] | None = None,
    allow_adaptors: tuple[str, ...] = (),
    hosts: tuple[HostPattern, ...] = (PUBLIC_HOSTS,),
) -> AsyncIterator[Attached]:
    """Run a worker of the stand-in within the context; it is stopped without a drain."""
    log = LogLines()
    parameters = {"token": worker_token(secret or server.secret, name), "api_version": "1.2"}
    context = RunContext(
        socket=ChannelSocket(server.url, parameters, log, timings),
        sandbox=SandboxRuns(
            pool,
            hosts=hosts,
            start_recording=start_recording,
            installer=AdaptorInstaller(allow_adaptors, log, install) if install else None,
        ),
        store=RunStore(outbox),
        log=log,
        defaults=defaults or RunDefaults(),
        batches=batches,
    )
    settings = WorkerSettings(
        name=name,
        workloops=workloops or (Workloop(("manual", "*"), capacity),),
        backoff=backoff,
        public_key=read_public_key(server.public_key) if public_key == "" else public_key,
    )
    worker = LightningWorker(settings, context)
    task = asyncio.create_task(worker.run())
    try:
        yield Attached(worker, task, log, context.socket)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
