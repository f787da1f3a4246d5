"""Execution of assigned runs in the sandbox, within the allowance of this worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from worker.adaptors.collections.open_host import open_host
from worker.adaptors.collections.settings import Collections
from worker.adaptors.http.allowlist import HostPattern, Reach
from worker.adaptors.http.lazy_host import LazyHost
from worker.adaptors.http.recording_host import RecordingHost
from worker.core.events import AnyEvent
from worker.errors import WorkerError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.worker_protocol import AssignedRun
from worker.fleet.worker.event_receiver import EventReceiver
from worker.fleet.worker.reported_recording import ReportedRecording
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.runner.reach import reach_of
from worker.runner.run_recording import RunRecording, StartRecording
from worker.sandbox.limits import Limits, resolve_limits
from worker.workflow.load import load
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.adaptors.collections.local_host import CollectionsSender

_NO_OPTIONS = wire.RunOptions()
MAX_CACHED_WORKFLOWS = 64
MAX_CACHED_BYTES = 256 * 1024 * 1024
"""The largest size of the plans that are cached; those that runs use are kept beyond it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """The resources that runs may use here. ``max_limits`` cap the limits of orders.

    ``collections`` is a folder that all workers share, or the service.
    """

    credentials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hosts: tuple[HostPattern, ...] = ()
    allow_python: bool = True
    max_limits: Limits = Limits()
    collections: Collections | None = None


class _ReportingSink:
    """Passes events to the worker, with what was recorded before each."""

    def __init__(self, receive: EventReceiver, recording: ReportedRecording | None) -> None:
        self._receive, self._recording = receive, recording

    def receive(self, event: AnyEvent) -> None:
        self._receive(event, self._recording)

    def close(self) -> None:
        """Do nothing: the events belong to the caller."""


@dataclass(slots=True, kw_only=True)
class _LoadedPlan:
    """Workflow of a plan, its host, and the number of runs that use them.

    ``usual`` are the options of runs whose orders have none.
    """

    workflow: Workflow
    usual: Options
    reach: Reach
    host: LazyHost | CollectionsSender
    size_bytes: int
    runs: int = 0


class RunExecutor:
    """Executes runs in a pool of processes, with a cache of loaded workflows.

    ``start_recording`` records each run, with its requests.
    """

    def __init__(
        self, pool: Pool, allowance: Allowance, start_recording: StartRecording | None = None
    ) -> None:
        self._pool = pool
        self._allowance = allowance
        self._start_recording = start_recording
        self._cache: dict[str, _LoadedPlan] = {}

    async def execute(
        self, run: AssignedRun, receive: EventReceiver, cancel: asyncio.Event
    ) -> None:
        """Execute a run and pass its events to ``receive``. Raises where it cannot begin."""
        async with self._loaded(run) as plan:
            input = _read_input(run)
            async with self._host(plan, input, run.options.start) as host:
                options = plan.usual
                if run.options != _NO_OPTIONS:
                    options = self._options(plan.workflow, run.options)
                id = run.lease.run_id
                recording, reported = RunRecording(options, host), None
                if self._start_recording is not None:
                    recording = self._start_recording(id, plan.workflow, options, input, host)
                if run.options.record:
                    reported = ReportedRecording(
                        id, plan.workflow, options, input, run.payload_limit
                    )
                    recording = _reporting(recording, reported, host)
                try:
                    await self._pool.run(
                        plan.workflow,
                        input,
                        recording.options,
                        sinks=[_ReportingSink(receive, reported), *recording.sinks],
                        cancel=cancel,
                        run_id=id,
                        host=recording.host,
                    )
                finally:
                    for sink in recording.sinks:
                        sink.close()

    @asynccontextmanager
    async def _host(
        self, plan: _LoadedPlan, input: Any, start: str
    ) -> AsyncIterator[LazyHost | CollectionsSender]:
        """Return the host of the plan, or one of the run where its input opens hosts."""
        reach = plan.reach
        if isinstance(input, Mapping) and "configuration" in input:
            reach = self._reach(plan.workflow, input, start)
        if reach == plan.reach:
            yield plan.host
            return
        host = open_host(reach, self._allowance.collections)
        try:
            yield host
        finally:
            await host.close()

    def _reach(self, workflow: Workflow, input: Any = None, start: str = "") -> Reach:
        return reach_of(
            workflow,
            credentials=self._allowance.credentials,
            allowed=self._allowance.hosts,
            input=input if isinstance(input, Mapping) else None,
            start=start,
        )

    @asynccontextmanager
    async def _loaded(self, run: AssignedRun) -> AsyncIterator[_LoadedPlan]:
        if run.plan_id not in self._cache:
            self._cache[run.plan_id] = self._load(run)
        plan = self._cache[run.plan_id]
        plan.runs += 1
        try:
            await self._evict()
            yield plan
        finally:
            plan.runs -= 1

    async def _evict(self) -> None:
        """Close the hosts of the oldest plans that no run uses, while there are too many plans."""
        # The oldest goes first: dictionaries keep the order of insertion.
        while len(self._cache) > MAX_CACHED_WORKFLOWS or self._cached_bytes() > MAX_CACHED_BYTES:
            unused = (plan_id for plan_id, plan in self._cache.items() if not plan.runs)
            if (plan_id := next(unused, None)) is None:
                return
            await self._cache.pop(plan_id).host.close()

    def _cached_bytes(self) -> int:
        return sum(plan.size_bytes for plan in self._cache.values())

    def _load(self, run: AssignedRun) -> _LoadedPlan:
        workflow = load(json.loads(bytes(run.plan)))
        reach = self._reach(workflow)
        # Python objects take several times the space of their JSON.
        size_bytes = 4 * len(bytes(run.plan))
        usual = self._options(workflow, _NO_OPTIONS)
        host = open_host(reach, self._allowance.collections)
        return _LoadedPlan(
            workflow=workflow,
            usual=usual,
            reach=reach,
            host=host,
            size_bytes=size_bytes,
        )

    def _options(self, workflow: Workflow, requested: wire.RunOptions) -> Options:
        return Options(
            start=requested.start,
            end=requested.end,
            limits=resolve_limits(workflow.options, requested.limits(), self._allowance.max_limits),
            credentials=self._allowance.credentials,
            allow_python=self._allowance.allow_python,
            collections=self._allowance.collections,
        )

    async def close(self) -> None:
        """Close the hosts of all plans."""
        for plan in self._cache.values():
            await plan.host.close()


def _reporting(
    recording: RunRecording, reported: ReportedRecording, host: LazyHost | CollectionsSender
) -> RunRecording:
    """Return the parts of a run whose requests are reported too."""
    if isinstance(recording.host, RecordingHost):
        return replace(recording, host=recording.host.with_writer(reported.exchange))
    return replace(recording, options=reported.options, host=RecordingHost(host, reported.exchange))


def _read_input(run: AssignedRun) -> Any:
    try:
        return json.loads(bytes(run.input))
    except (ValueError, RecursionError) as error:
        raise WorkerError(f"cannot read the input: {error}") from error
