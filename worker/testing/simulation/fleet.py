"""Simulated fleet: starts, disturbs, kills and restarts the parts of a real one."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec import to_builtins
from sqlalchemy import Connection, bindparam, select

from worker.core.events import AnyEvent, RunComplete, RunStart, StepComplete, StepStart
from worker.core.outcome import StepError
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane, control_will, plane_keepalive_s
from worker.fleet.control.store import tables
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import AssignedRun, Lease
from worker.fleet.worker.fleet_worker import Executor, FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.worker_publisher import WorkerOffer, worker_will
from worker.testing.simulation.drawn_runs import passes
from worker.testing.simulation.faults import FaultKind, InjectedFault, is_plane
from worker.testing.simulation.history import History
from worker.testing.simulation.network import Link, SimulatedBroker
from worker.testing.simulation.virtual_time import VirtualClock
from worker.util.machine_clock import now_us

CAPACITY = 2
PLANE_DEAF_S = 2.0 * plane_keepalive_s(Settings().lease_s)
"""How long a control plane receives nothing before its keepalive breaks the connection."""
_STARTED = Prepared(
    select(tables.RUNS.c.started.is_not(None)).where(
        tables.RUNS.c.id == bindparam("run_id"),
        tables.RUNS.c.attempt == bindparam("attempt"),
        tables.RUNS.c.token == bindparam("token"),
    )
)
NOT_AN_ID = "no id"
"""An id in an event that a control plane refuses, whatever the worker does."""


class SimulatedStore(Store):
    """Store that can be away: transactions then fail before they begin, or after the commit."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__("sqlite://")
        self._chance = chance
        self.outages = 0
        """How many outages there are at this time."""

    def copy_tables(self, other: Store) -> None:
        """Copy all tables of another store."""
        with other.read() as source, self.read() as target:
            from_driver: Any = source.connection.driver_connection
            to_driver: Any = target.connection.driver_connection
            from_driver.backup(to_driver)

    def has_stored_start(self, lease: Lease) -> bool:
        """Check that the start of a run under this very lease is committed, outage or not."""
        with super().read() as connection:
            return bool(_STARTED.value(connection, to_builtins(lease)))

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        if self.outages:
            raise StoreUnavailable("simulated outage")
        with super().read() as connection:
            yield connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        if self.outages and self._chance.random() < 0.5:
            raise StoreUnavailable("simulated outage, before the commit")
        with super().transaction() as transaction:
            yield transaction
        if self.outages:
            raise StoreUnavailable("simulated outage, after the commit")


class EffectExecutor:
    """Executes a run of one step: it takes a while, has its effect, and takes a while more.

    One run in ten fails after its effect. One in thirty cannot be executed, and one in thirty ends
    with an event that no control plane accepts.
    """

    def __init__(self, history: History, store: SimulatedStore, chance: random.Random) -> None:
        self._history = history
        self._store = store
        self._chance = chance

    async def execute(
        self, run: AssignedRun, receive: Callable[[AnyEvent], None], cancel: asyncio.Event
    ) -> None:
        run_id, seq = run.lease.run_id, iter(range(10))
        if not self._store.has_stored_start(run.lease):
            self._history.begun_early.add(run_id)
        luck = self._chance.random()
        if luck < 1 / 30:
            self._history.exceptions.add(run_id)
            raise RuntimeError("simulated: the run cannot be executed")

        def send(kind: type[AnyEvent], **fields: Any) -> None:
            receive(kind(run_id=run_id, seq=next(seq), timestamp=now_us(), **fields))

        send(RunStart, workflow="simulated", versions={})
        send(StepStart, step_id="s-1", job_id="a", job_name="a", input_dataclip_id="c-0",
             execution=0)  # fmt: skip
        error = None
        before_s, after_s = self._durations_s()
        if await passes(before_s, cancel):
            self._history.effects[run_id, "a", 0] += 1
            if self._chance.random() < 0.1:
                error = StepError(type="JobError", message="simulated", name="JobError")
            if not await passes(after_s, cancel):
                error = StepError(type="CancelledError", message="cancelled", name="CancelledError")
        else:
            error = StepError(type="CancelledError", message="cancelled", name="CancelledError")
        reason = "success" if error is None else error.reason
        clip = NOT_AN_ID if luck > 29 / 30 and reason == "success" else None
        if clip is not None or reason == "exception":
            self._history.exceptions.add(run_id)
        send(StepComplete, step_id="s-1", job_id="a", reason=reason, error=error,
             output_dataclip_id=clip)  # fmt: skip
        send(RunComplete, reason=reason, error=error)

    def _durations_s(self) -> tuple[float, float]:
        """Return the times of a run before and after its effect."""
        luck = self._chance.random()
        # One in ten ends while its first events are on their way, so that these are acknowledged
        # after others came. One in four is longer than a lease, so that heartbeats matter.
        if luck < 0.1:
            return self._chance.uniform(0.001, 0.01), 0.001
        before_s = self._chance.uniform(0.05, 6.0) if luck < 0.75 else 20.0
        return before_s, self._chance.uniform(0.0, 2.0)


@dataclass(frozen=True, slots=True)
class _Log:
    """Logger of a part: what it logs becomes part of the history."""

    name: str
    history: History
    clock: VirtualClock

    def critical(self, event: str, **fields: Any) -> None:
        self._note(event, fields)

    warning = info = critical

    def _note(self, event: str, fields: dict[str, Any]) -> None:
        self.history.notes.append((self.clock.now_s, self.name, event, fields))


@dataclass(slots=True)
class _Process:
    """Running part of the fleet."""

    link: Link
    task: asyncio.Task[None]
    folder: Path | None = None


@dataclass(slots=True)
class SimulatedFleet:
    """Parts of a fleet by name, and the faults that are going on."""

    broker: SimulatedBroker
    clock: VirtualClock
    store: SimulatedStore
    registry: WorkflowRegistry
    history: History
    executor: Executor
    folder: Path
    policy: Policy = field(default_factory=Policy)
    offer: WorkerOffer = field(default_factory=WorkerOffer)
    topics: Topics = field(default_factory=Topics)
    settings: Settings = field(default_factory=Settings)
    _processes: dict[str, _Process] = field(default_factory=dict)
    _starts: int = 0

    def start(self, name: str) -> None:
        """Start a worker or the control plane, with what an earlier one of its name left."""
        self._starts += 1
        id = f"{self._starts:016x}-{name}"
        before = self._processes.get(name)
        if is_plane(name):
            self._processes[name] = self._start_control(name, id)
        else:
            folder = self.folder / id
            if before is not None and before.folder is not None:
                shutil.copytree(before.folder, folder)
            self._processes[name] = self._start_worker(name, id, folder)

    def _log_of(self, name: str) -> _Log:
        return _Log(name, self.history, self.clock)

    def _start_control(self, name: str, id: str) -> _Process:
        will = control_will(self.topics, id)
        filters = self.topics.for_control(shared=self.settings.shared)
        link = self.broker.link(name, *filters, will=will)
        processor = MessageProcessor(
            self.store,
            topics=self.topics,
            settings=self.settings,
            policy=self.policy,
            registry=self.registry,
        )
        plane = ControlPlane(link, processor, topics=self.topics, log=self._log_of(name), id=id)
        return _Process(link, asyncio.create_task(plane.run()))

    def _start_worker(self, name: str, id: str, folder: Path) -> _Process:
        will = worker_will(self.topics, name, id)
        link = self.broker.link(name, *self.topics.for_worker(name), will=will)
        worker = FleetWorker(
            link,
            self.executor,
            Outbox(folder),
            name=name,
            capacity=CAPACITY,
            topics=self.topics,
            log=self._log_of(name),
            id=id,
            offer=self.offer,
        )
        return _Process(link, asyncio.create_task(worker.run()), folder)

    async def kill(self, name: str) -> None:
        """Kill a process at this moment: what it does from now on has no consequences."""
        process = self._processes[name]
        if process.folder is not None:
            # What is on the disk now is what the next process finds.
            copy = process.folder.with_name(f"{process.folder.name}-left")
            shutil.copytree(process.folder, copy)
            process.folder = copy
        process.link.kill()
        process.task.cancel()
        await asyncio.gather(process.task, return_exceptions=True)

    async def inject(self, fault: InjectedFault) -> None:
        """Cause a fault, wait until it is over, and repair what it broke.

        Others may go on at the same time, also of the same target.
        """
        process = self._processes[fault.target]
        if fault.channel and fault.kind is not FaultKind.MUTE:
            # Mute since that message; what is cut or killed now sends no other.
            self.broker.mute[fault.target] -= 1
        match fault.kind:
            case FaultKind.DEAF if is_plane(fault.target) and fault.lasts_s > PLANE_DEAF_S:
                self.broker.deaf[fault.target] += 1
                await asyncio.sleep(PLANE_DEAF_S)
                # Perhaps of another process than at first, whose keepalive is the same.
                self._processes[fault.target].link.cut()
                await asyncio.sleep(fault.lasts_s - PLANE_DEAF_S)
                self.broker.deaf[fault.target] -= 1
                self._processes[fault.target].link.restore()
            case FaultKind.MUTE | FaultKind.DEAF:
                lost = self.broker.mute if fault.kind is FaultKind.MUTE else self.broker.deaf
                lost[fault.target] += not fault.channel
                await asyncio.sleep(fault.lasts_s)
                lost[fault.target] -= 1
            case FaultKind.CUT:
                process.link.cut()
                await asyncio.sleep(fault.lasts_s)
                process.link.restore()
            case FaultKind.KILL if not process.link.is_dead:
                await self.kill(fault.target)
                await asyncio.sleep(fault.lasts_s)
                self.start(fault.target)
            case FaultKind.CLOCK:
                self.clock.jump_s += -fault.lasts_s if self.clock.jump_s else fault.lasts_s
            case FaultKind.HANG:
                process.link.hang()
                await asyncio.sleep(fault.lasts_s)
                process.link.go_on()
            case FaultKind.STORE:
                self.store.outages += 1
                await asyncio.sleep(fault.lasts_s)
                self.store.outages -= 1

    def failure(self) -> str:
        """Return the error with which a part has ended by itself; empty if none has."""
        for name, process in self._processes.items():
            if process.task.done() and not process.task.cancelled():
                return f"{name} has ended: {process.task.exception()!r}"
        return ""

    async def stop(self) -> None:
        for name in list(self._processes):
            await self.kill(name)
