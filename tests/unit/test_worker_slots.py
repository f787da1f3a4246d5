"""The slots of a fleet worker: what it requests when runs end, and when it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from tests.support.control_plane_harness import TOPICS
from tests.support.event_names import EventNames
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.worker_protocol import (
    AssignedRun,
    Assignment,
    Claim,
    Lease,
    StartRequest,
    Starts,
    attempt_of,
)
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox


class UntilSet:
    """An executor whose runs all end at the same time."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def execute(self, *_: Any) -> None:
        await self.ended.wait()


def assigned(number: int) -> AssignedRun:
    return AssignedRun(
        lease=Lease(run_id=f"r-{number}", attempt=1, token="t" * 8),
        lease_s=60,
        payload_limit=1_000_000,
        order_id=f"o-{number}",
        plan_id="p",
        plan=msgspec.Raw(b"{}"),
        input=msgspec.Raw(b"{}"),
    )


class ScriptedPlane:
    """A control plane whose responses a test gives."""

    def __init__(self, broker: LocalBroker) -> None:
        channels = ("claim", "start", "status")
        self.bus = broker.bus(*(TOPICS.worker("w", channel) for channel in channels))

    async def received(self, channel: str) -> Message:
        """Return the next message of the worker on a channel."""
        while True:
            for arrival in await self.bus.receive():
                if isinstance(arrival, Message) and arrival.topic == TOPICS.worker("w", channel):
                    return arrival

    async def assign(self, *runs: AssignedRun) -> None:
        """Respond to the next claim."""
        claim = wire.decode(Claim, (await self.received("claim")).payload)
        self._respond(Assignment(claim_id=claim.claim_id, runs=list(runs)))

    async def start(self) -> list[Lease]:
        """Confirm what the next request wants to start; return its leases."""
        leases = wire.decode(StartRequest, (await self.received("start")).payload).leases
        self._respond(Starts(started=[attempt_of(lease) for lease in leases]))
        return leases

    def _respond(self, response: Assignment | Starts) -> None:
        self.bus.publish(Message(topic=TOPICS.worker("w", "rsp"), payload=wire.encode(response)))


@contextlib.asynccontextmanager
async def serving(
    folder: Path, executor: UntilSet, capacity: int
) -> AsyncIterator[tuple[asyncio.Task[None], FleetWorker, ScriptedPlane]]:
    """Run a worker; yield its task, itself and its control plane."""
    broker = LocalBroker()
    bus, outbox = broker.bus(*TOPICS.for_worker("w")), Outbox(folder / "outbox")
    worker = FleetWorker(
        bus, executor, outbox, name="w", capacity=capacity, topics=TOPICS, log=EventNames()
    )
    plane = ScriptedPlane(broker)
    async with plane.bus:
        task = asyncio.create_task(worker.run())
        yield task, worker, plane
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_running(worker: FleetWorker, count: int) -> None:
    while worker.running < count:
        await asyncio.sleep(0)


async def test_runs_that_end_together_are_followed_by_one_request(tmp_path: Path) -> None:
    executor, runs = UntilSet(), [assigned(number) for number in range(4)]
    leases = [run.lease for run in runs]
    async with serving(tmp_path, executor, capacity=2) as (_, worker, plane):
        await plane.assign(*runs)
        assert await plane.start() == leases[:2]
        await until_running(worker, 2)
        executor.ended.set()
        assert await plane.start() == leases[2:]


async def test_a_worker_that_is_stopped_claims_no_run_for_the_slot_that_it_frees(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, UntilSet(), capacity=1) as (task, worker, plane):
        await plane.assign(assigned(1))
        await plane.start()
        await until_running(worker, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # One more turn, in which a slot would be filled.
        await asyncio.sleep(0)
        sent = [each.topic for each in await plane.bus.receive(0) if isinstance(each, Message)]
    assert sent == [TOPICS.worker("w", "status")]
