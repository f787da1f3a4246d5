"""Execution of assigned runs in the sandbox, within the allowance of this worker."""

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

MAX_CACHED_WORKFLOWS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The resources that runs may use here. ``max_limits`` cap the limits of orders."""

    credentials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hosts: tuple[HostPattern, ...] = ()
    allow_python: bool = True
    max_limits: Limits | None = None


class _CallbackSink:
    def __init__(self, receive: Callable[[AnyEvent], None]) -> None:
        self.receive = receive

    def close(self) -> None:
        """Do nothing: the events belong to the caller."""


class RunExecutor:
    """Executes runs in a pool of processes, with a cache of loaded workflows."""

    def __init__(self, pool: Pool, allowance: Allowance) -> None:
        self._pool = pool
        self._allowance = allowance
        self._cache: dict[str, tuple[Workflow, LazyHost]] = {}

    async def execute(
        self, run: wire.AssignedRun, receive: Callable[[AnyEvent], None], cancel: asyncio.Event
    ) -> None:
        """Execute a run and pass its events to ``receive``. Raises where it cannot begin."""
        workflow, host = self._load(run)
        await self._pool.run(
            workflow,
            _read_input(run),
            self._options(workflow, run.options),
            sinks=[_CallbackSink(receive)],
            cancel=cancel,
            run_id=run.lease.run_id,
            host=host,
        )

    def _load(self, run: wire.AssignedRun) -> tuple[Workflow, LazyHost]:
        if run.plan_id not in self._cache:
            workflow = load(json.loads(bytes(run.plan)))
            credentials, _ = configurations(workflow, self._allowance.credentials)
            # Credentials name the systems that they are for, so those hosts are allowed too.
            allowed = [*self._allowance.hosts, *hosts_in_credentials(credentials.values())]
            # The oldest goes first: dictionaries keep the order of insertion.
            if len(self._cache) >= MAX_CACHED_WORKFLOWS:
                self._cache.pop(next(iter(self._cache)))
            self._cache[run.plan_id] = workflow, LazyHost(allowed)
        return self._cache[run.plan_id]

    def _options(self, workflow: Workflow, requested: wire.RunOptions) -> Options:
        limits = limits_of(
            workflow,
            timeout=requested.timeout_s,
            memory=requested.memory_mb,
            state_limit=requested.state_mb,
            payload_limit=requested.payload_mb,
        )
        if cap := self._allowance.max_limits:
            limits = replace(
                limits,
                timeout_s=min(limits.timeout_s, cap.timeout_s),
                memory_mb=min(limits.memory_mb, cap.memory_mb),
            )
        return Options(
            start=requested.start,
            end=requested.end,
            limits=limits,
            credentials=self._allowance.credentials,
            allow_python=self._allowance.allow_python,
        )

    async def close(self) -> None:
        for _, host in self._cache.values():
            await host.close()


def _read_input(run: wire.AssignedRun) -> Any:
    try:
        return json.loads(bytes(run.input))
    except (ValueError, RecursionError) as error:
        raise WorkerError(f"cannot read the input: {error}") from error
