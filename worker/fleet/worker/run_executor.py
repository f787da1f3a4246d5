"""Runs what was assigned, in the sandbox, within what this worker allows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from worker.adaptors.http.allowlist import HostPattern, hosts_in_credentials
from worker.adaptors.http.lazy_host import LazyHost
from worker.core.events import AnyEvent
from worker.errors import WorkerError
from worker.fleet.messaging import messages as wire
from worker.runner.pool import Pool
from worker.runner.prepare import Options, configurations, limits_of
from worker.sandbox.limits import Limits
from worker.workflow.load import load
from worker.workflow.model import Workflow

KEPT = 64
"""How many workflows are kept ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What runs may have here. ``most`` are the highest limits that an order can ask for."""

    credentials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hosts: tuple[HostPattern, ...] = ()
    allow_python: bool = True
    most: Limits | None = None


class _Sink:
    def __init__(self, receive: Callable[[AnyEvent], None]) -> None:
        self.receive = receive

    def close(self) -> None:
        """There is nothing to close."""


class RunExecutor:
    """Runs workflows in a pool of processes."""

    def __init__(self, pool: Pool, allowance: Allowance) -> None:
        self._pool = pool
        self._allowance = allowance
        self._known: dict[str, tuple[Workflow, LazyHost]] = {}

    async def execute(
        self, run: wire.AssignedRun, receive: Callable[[AnyEvent], None], cancel: asyncio.Event
    ) -> None:
        """Run to the end; every event goes to ``receive``. Raises where nothing could run."""
        workflow, host = self._ready(run)
        try:
            state = json.loads(bytes(run.input))
        except (ValueError, RecursionError) as error:
            raise WorkerError(f"the input cannot be read: {error}") from error
        await self._pool.run(
            workflow,
            state,
            self._options(workflow, run.options),
            sinks=[_Sink(receive)],
            cancel=cancel,
            run_id=run.lease.run_id,
            host=host,
        )

    def _ready(self, run: wire.AssignedRun) -> tuple[Workflow, LazyHost]:
        if run.plan_id not in self._known:
            workflow = load(json.loads(bytes(run.plan)))
            found, _ = configurations(workflow, self._allowance.credentials)
            allowed = [*self._allowance.hosts, *hosts_in_credentials(found.values())]
            if len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[run.plan_id] = workflow, LazyHost(allowed)
        return self._known[run.plan_id]

    def _options(self, workflow: Workflow, asked: wire.RunOptions) -> Options:
        limits = limits_of(
            workflow,
            timeout=asked.timeout_s,
            memory=asked.memory_mb,
            state_limit=asked.state_mb,
            payload_limit=asked.payload_mb,
        )
        if most := self._allowance.most:
            limits = replace(
                limits,
                timeout_s=min(limits.timeout_s, most.timeout_s),
                memory_mb=min(limits.memory_mb, most.memory_mb),
            )
        return Options(
            start=asked.start,
            end=asked.end,
            limits=limits,
            credentials=self._allowance.credentials,
            allow_python=self._allowance.allow_python,
        )

    async def close(self) -> None:
        for _, host in self._known.values():
            await host.close()
