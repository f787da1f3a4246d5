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

from worker.core.events import AnyEvent, RunComplete, RunStart, StepComplete, StepStart
from worker.core.outcome import StepError
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane, control_will
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.topics import Topics
from worker.fleet.worker.fleet_worker import FleetWorker, worker_will
from worker.fleet.worker.outbox import Outbox
from worker.testing.simulation.faults import CONTROL, Fault, FaultKind
from worker.testing.simulation.history import History
from worker.testing.simulation.network import Link, SimulatedBroker
from worker.testing.simulation.virtual_time import VirtualClock
from worker.util.machine_clock import now_us

CAPACITY = 2


class SimulatedStore(Store):
    """Store that can be away: transactions then fail before they begin, or after the commit."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__("sqlite://")
        self._chance = chance
        self.is_away = False

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        if self.is_away and self._chance.random() < 0.5:
            raise StoreUnavailable("simulated outage, before the commit")
        with super().transaction() as transaction:
            yield transaction
        if self.is_away:
            raise StoreUnavailable("simulated outage, after the commit")


class EffectExecutor:
    """Executes a run of one step: it takes a while, has its effect, and takes a while more.

    One run in ten fails after its effect.
    """

    def __init__(self, history: History, chance: random.Random) -> None:
        self._history = history
        self._chance = chance
        self.is_dead = False

    async def execute(
        self, run: wire.AssignedRun, receive: Callable[[AnyEvent], None], cancel: asyncio.Event
    ) -> None:
        run_id, seq = run.lease.run_id, iter(range(10))

        def send(kind: type[AnyEvent], **fields: Any) -> None:
            receive(kind(run_id=run_id, seq=next(seq), timestamp=now_us(), **fields))

        send(RunStart, workflow="simulated", versions={})
        send(StepStart, step_id="s-1", job_id="a", job_name="a", input_dataclip_id="c-0",
             execution=0)  # fmt: skip
        error = None
        # One in four is longer than a lease, so that heartbeats matter.
        before_s = self._chance.uniform(0.05, 6.0) if self._chance.random() < 0.75 else 20.0
        if await self._passes(before_s, cancel):
            self._history.effects[run_id] += 1
            if self._chance.random() < 0.1:
                error = StepError(type="JobError", message="simulated", name="JobError")
            if not await self._passes(self._chance.uniform(0.0, 2.0), cancel):
                error = StepError(type="CancelledError", message="cancelled", name="CancelledError")
        else:
            error = StepError(type="CancelledError", message="cancelled", name="CancelledError")
        reason = "success" if error is None else error.reason
        send(StepComplete, step_id="s-1", job_id="a", reason=reason, error=error)
        send(RunComplete, reason=reason, error=error)

    async def _passes(self, time_s: float, cancel: asyncio.Event) -> bool:
        """Wait; return False if the run is cancelled meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(time_s):
                await cancel.wait()
        return not cancel.is_set()


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
    chance: random.Random
    folder: Path
    topics: Topics = field(default_factory=Topics)
    settings: Settings = field(default_factory=Settings)
    _processes: dict[str, _Process] = field(default_factory=dict)
    _starts: int = 0

    def start(self, name: str) -> None:
        """Start a worker or the control plane, with what an earlier one of its name left."""
        self._starts += 1
        id = f"{self._starts:016x}-{name}"
        before = self._processes.get(name)
        if name == CONTROL:
            self._processes[name] = self._start_control(id)
        else:
            folder = self.folder / id
            if before is not None and before.folder is not None:
                shutil.copytree(before.folder, folder)
            self._processes[name] = self._start_worker(name, id, folder)

    def _log_of(self, name: str) -> _Log:
        return _Log(name, self.history, self.clock)

    def _start_control(self, id: str) -> _Process:
        will = control_will(self.topics, id)
        link = self.broker.link(CONTROL, *self.topics.for_control(), will=will)
        processor = MessageProcessor(
            self.store,
            topics=self.topics,
            settings=self.settings,
            policy=Policy(),
            registry=self.registry,
        )
        plane = ControlPlane(link, processor, topics=self.topics, log=self._log_of(CONTROL), id=id)
        return _Process(link, asyncio.create_task(plane.run()))

    def _start_worker(self, name: str, id: str, folder: Path) -> _Process:
        will = worker_will(self.topics, name, id)
        link = self.broker.link(name, *self.topics.for_worker(name), will=will)
        worker = FleetWorker(
            link,
            EffectExecutor(self.history, self.chance),
            Outbox(folder),
            name=name,
            capacity=CAPACITY,
            topics=self.topics,
            log=self._log_of(name),
            id=id,
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

    async def inject(self, fault: Fault) -> None:
        """Cause a fault, wait until it is over, and repair what it broke."""
        match fault.kind:
            case FaultKind.MUTE | FaultKind.DEAF:
                lost = self.broker.mute if fault.kind is FaultKind.MUTE else self.broker.deaf
                lost.add(fault.target)
                await asyncio.sleep(fault.lasts_s)
                lost.discard(fault.target)
            case FaultKind.CUT:
                self._processes[fault.target].link.cut()
                await asyncio.sleep(fault.lasts_s)
                self._processes[fault.target].link.restore()
            case FaultKind.KILL:
                await self.kill(fault.target)
                await asyncio.sleep(fault.lasts_s)
                self.start(fault.target)
            case FaultKind.CLOCK:
                self.clock.jump_s += -fault.lasts_s if self.clock.jump_s else fault.lasts_s
            case FaultKind.STORE:
                self.store.is_away = True
                await asyncio.sleep(fault.lasts_s)
                self.store.is_away = False

    def failure(self) -> str:
        """Return the error with which a part has ended by itself; empty if none has."""
        for name, process in self._processes.items():
            if process.task.done() and not process.task.cancelled():
                return f"{name} has ended: {process.task.exception()!r}"
        return ""

    async def stop(self) -> None:
        for name in list(self._processes):
            await self.kill(name)
