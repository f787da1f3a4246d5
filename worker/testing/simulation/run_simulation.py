"""One simulation, from its seed to its history."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worker.core.status import STATUSES, Status
from worker.fleet.client import Client
from worker.fleet.control.policy import Policy
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.state_messages import Alert, OrderState, RunState
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import Assignment
from worker.fleet.worker.fleet_worker import Executor
from worker.fleet.worker.worker_publisher import WorkerOffer
from worker.testing.simulation.drawn_runs import DrawnExecutor
from worker.testing.simulation.faults import InjectedFault, draw_faults, plane_names
from worker.testing.simulation.fleet import EffectExecutor, SimulatedFleet, SimulatedStore
from worker.testing.simulation.history import History
from worker.testing.simulation.network import OBSERVER, SimulatedBroker
from worker.testing.simulation.virtual_time import VirtualClock, VirtualLoop
from worker.testing.simulation.workload import BUILT_IN, Workload
from worker.util.machine_clock import replaced
from worker.workflow.model import Workflow

_WORKERS = ["w1", "w2", "w3"]
_PLANES = (2, 1, 3, 1)
_CANCELLED = 0.05
# After the last fault: leases end, runs are claimed anew, reports are repeated.
_SETTLE_S = 60.0
_REPLY_TIMEOUT_S = 300.0
_POLL_S = 10.0
_QUIET_S = 120.0
_LONGEST_PAUSE_S = 7200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Simulation that a seed describes.

    Without ``faults`` they are drawn from the seed, and without ``planes`` it decides how many
    control planes share the store. With ``workflows`` or a ``policy``, orders are spread over these
    and over the projects of the policy. Without any, a workflow of one step is simulated.
    """

    seed: int
    orders: int = 20
    duration_s: float = 600.0
    faults: tuple[InjectedFault, ...] | None = None
    planes: int | None = None
    workflows: tuple[Workflow, ...] = ()
    policy: Policy | None = None

    @property
    def is_drawn(self) -> bool:
        """Whether workflows are walked, and not the run of one step that is built in."""
        return bool(self.workflows) or self.policy is not None

    def workload(self) -> Workload:
        policy = replace(self.policy or Policy(), clients=None)
        return Workload(workflows=self.workflows or (BUILT_IN,), policy=policy)

    @property
    def plane_count(self) -> int:
        return self.planes or _PLANES[self.seed % len(_PLANES)]

    def drawn_faults(self) -> tuple[InjectedFault, ...]:
        if self.faults is not None:
            return self.faults
        chance = random.Random(self.seed)  # noqa: S311 -- the same every time
        return draw_faults(chance, _WORKERS, self.duration_s * 0.8, planes=self.plane_count)


def simulate(simulation: Simulation) -> History:
    """Simulate a fleet, and return what happened."""
    clock = VirtualClock()
    loop = VirtualLoop(clock)
    history = History(
        seed=simulation.seed,
        faults=simulation.drawn_faults(),
        planes=simulation.plane_count,
        workload=simulation.workload(),
    )
    history.workload.check()
    try:
        with replaced(clock.machine(simulation.seed)):
            loop.run_until_complete(_simulate(simulation, clock, history))
    except Exception as error:
        history.failure = f"{type(error).__name__}: {error}"
    finally:
        loop.run_until_complete(_cancel_all())
        loop.close()
    history.simulated_s = clock.now_s
    return history


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _simulate(simulation: Simulation, clock: VirtualClock, history: History) -> None:
    chance = random.Random(simulation.seed + 1)  # noqa: S311 -- the same every time
    broker, store = SimulatedBroker(chance), _prepared_store(chance)
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=_memory_folder()) as folder:
        settings = Settings(shared=simulation.plane_count > 1)
        workload = history.workload
        fleet = SimulatedFleet(
            broker,
            clock,
            store,
            workload.registry(),
            history,
            _executor(simulation, history, store, chance),
            Path(folder),
            policy=workload.policy,
            offer=workload.offer() if simulation.is_drawn else WorkerOffer(),
            settings=settings,
        )
        broker.on_message = lambda message: _note_answer(message, history)
        for name in (*plane_names(simulation.plane_count), *_WORKERS):
            fleet.start(name)
        watcher = asyncio.create_task(_watch(broker, fleet.topics, history))
        faults = asyncio.create_task(_inject_all(fleet, history.faults))
        client = Client(broker.link("client"), fleet.topics, name="me", wait_s=_REPLY_TIMEOUT_S)
        async with client:
            orders = (
                _submit(client, f"o{number}", simulation, chance, history)
                for number in range(simulation.orders)
            )
            await asyncio.gather(*orders)
            await asyncio.sleep(max(0.0, simulation.duration_s - clock.now_s))
            await faults
            await asyncio.sleep(_SETTLE_S)
            if simulation.is_drawn:
                await _until_ended(history)
            await _collect(client, history)
        history.failure = fleet.failure()
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        await fleet.stop()
    store.close()
    history.messages, history.trace = broker.messages, broker.trace.hexdigest()


def _executor(
    simulation: Simulation, history: History, store: SimulatedStore, chance: random.Random
) -> Executor:
    if simulation.is_drawn:
        return DrawnExecutor(history, store.has_stored_start, chance)
    return EffectExecutor(history, store, chance)


async def _until_ended(history: History) -> None:
    """Wait while orders are queued for a limit or a retry, and something still happens."""
    quiet_s = _QUIET_S + min(history.workload.longest_pause_s(), _LONGEST_PAUSE_S)
    changes, since_s = -1, 0.0
    while since_s < quiet_s and not _have_ended(history):
        before, changes = changes, sum(map(len, history.states.values()))
        since_s = since_s + _POLL_S if changes == before else 0.0
        await asyncio.sleep(_POLL_S)


def _have_ended(history: History) -> bool:
    last = [states[-1] for topic, states in history.states.items() if "/orders/" in topic]
    return all(STATUSES[Status(status)].final for status in last)


def _memory_folder() -> Path | None:
    """Choose a folder in memory if there is one: on a disk, files took a fifth of the time."""
    folder = Path("/dev/shm")  # noqa: S108 -- the files are in a private folder within
    return folder if os.access(folder, os.W_OK) else None


def _prepared_store(chance: random.Random) -> SimulatedStore:
    store = SimulatedStore(chance)
    store.copy_tables(_template())
    return store


@functools.cache
def _template() -> Store:
    """Copy a store with tables, which are made once: that takes as long as many messages."""
    store = Store("sqlite://")
    store.migrate()
    return store


async def _inject_all(fleet: SimulatedFleet, faults: Sequence[InjectedFault]) -> None:
    async def inject(fault: InjectedFault) -> None:
        await asyncio.sleep(fault.at_s)
        if fault.channel:
            await fleet.broker.mute_at(fault.target, fault.channel)
        fault = replace(fault, at_s=asyncio.get_running_loop().time())
        fleet.history.injected.append(fault)
        await fleet.inject(fault)

    await asyncio.gather(*map(inject, faults))


async def _submit(
    client: Client,
    order_id: str,
    simulation: Simulation,
    chance: random.Random,
    history: History,
) -> None:
    await asyncio.sleep(chance.uniform(0, simulation.duration_s * 0.8))
    cancels, pause_s = chance.random() < _CANCELLED, chance.uniform(0.0, 5.0)
    workflow, project = chance.choice(history.workload.places)
    history.submitted[order_id] = workflow, project
    await client.submit(workflow=workflow, input={}, order_id=order_id, project=project)
    history.accepted.add(order_id)
    if cancels:
        await asyncio.sleep(pause_s)
        history.cancelled.add(order_id)
        # It may have ended meanwhile.
        with contextlib.suppress(ControlError):
            await client.cancel(order_id)


async def _watch(broker: SimulatedBroker, topics: Topics, history: History) -> None:
    """Note the states of runs and orders, and the alerts, as followers see them."""
    revisions: dict[str, int] = {}
    async with broker.link(OBSERVER, *topics.for_followers()) as link:
        while True:
            for arrival in await link.receive():
                if not isinstance(arrival, Message) or not arrival.payload:
                    continue
                if arrival.topic == topics.alerts:
                    history.alerts.add(wire.decode(Alert, arrival.payload).run_id)
                elif arrival.topic.endswith("/state"):
                    _note_state(arrival, revisions, history)


def _note_state(message: Message, revisions: dict[str, int], history: History) -> None:
    kind: type[RunState | OrderState]
    kind = RunState if "/runs/" in message.topic else OrderState
    state = wire.decode(kind, message.payload)
    # A follower takes no state that is older than one before.
    if state.revision < revisions.get(message.topic, -1):
        return
    revisions[message.topic] = state.revision
    history.states.setdefault(message.topic, []).append(str(state.status))
    if isinstance(state, RunState):
        now_s = asyncio.get_running_loop().time()
        history.seen.setdefault((state.run_id, str(state.status)), now_s)


def _note_answer(message: Message, history: History) -> None:
    """Note the runs that a claim gets; a repetition has the same runs, or fewer.

    A claim whose runs have all gone back may be answered again, as if it was never answered.
    """
    if not message.topic.endswith("/rsp") or b'"runs"' not in message.payload[:20]:
        return
    assignment = wire.decode(Assignment, message.payload)
    claim_id, runs = assignment.claim_id, {run.lease.run_id for run in assignment.runs}
    before = history.answers.get(claim_id, set())
    began = {run for run in before if (run, "running") in history.seen}
    if not runs <= before and any(history.claim_of[run] == claim_id for run in began):
        history.answered_twice.add(claim_id)
    history.answers[claim_id] = before | runs
    history.claim_of |= dict.fromkeys(runs, claim_id)


async def _collect(client: Client, history: History) -> None:
    # Together, so that they share messages and transactions.
    ids = sorted(history.accepted)
    history.orders = dict(zip(ids, await asyncio.gather(*map(client.order, ids)), strict=True))
    for order_id, order in history.orders.items():
        for run in order["all_runs"]:
            history.runs[run["run_id"]] = {**run, "order_id": order_id}
    logs = await asyncio.gather(*map(client.events, history.runs))
    history.logs = dict(zip(history.runs, logs, strict=True))
