"""A worker on the bus: it asks for as many runs as it has room for, runs them, and reports them.

Everything it says it says again until it is answered: claims, reports, heartbeats. What the control
plane says twice it does once. When it is told to leave, it claims nothing more, finishes what runs,
hands back what did not begin, and goes when all is reported.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

from worker.core.events import AnyEvent, RunComplete
from worker.core.outcome import StepError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Arrival, Bus, Connected, Disconnected, Message
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.topics import Topics
from worker.fleet.worker.event_size import fitted
from worker.fleet.worker.outbox import Outbox, RunOutbox
from worker.fleet.worker.reporter import MESSAGE_BYTES, Key, ReportSender
from worker.sinks.log import LeveledLogger
from worker.version import VERSION

REPEAT_CLAIM_S = 2.0
BEATS = 4
"""How many heartbeats a lease has time for."""
TURN_S = 0.25
ENVELOPE = 4096
"""The bytes of a message around its events."""
REMEMBERED = 10_000
"""How many runs that were done are remembered, to know them again."""


class RunsPlans(Protocol):
    """What runs a run to its end."""

    async def execute(
        self, run: wire.AssignedRun, receive: Callable[[AnyEvent], None], cancel: asyncio.Event
    ) -> None: ...


@dataclass(slots=True)
class LeasedRun:
    """A run that this worker has the lease of."""

    lease: wire.Lease
    box: RunOutbox
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    seq: int = 0
    wanted: bool = True


def worker_will(topics: Topics, name: str, id: str) -> Message:
    """What the broker says when this worker is gone."""
    return _presence(topics, name, wire.Presence(incarnation=id, online=False))


def _presence(topics: Topics, name: str, presence: wire.Presence) -> Message:
    topic = topics.worker(name, "status")
    return Message(topic=topic, payload=wire.encode(presence), retain=True)


class FleetWorker:
    """One worker, until it is cancelled or has drained."""

    def __init__(
        self,
        bus: Bus,
        executor: RunsPlans,
        outbox: Outbox,
        *,
        name: str,
        capacity: int,
        topics: Topics,
        log: LeveledLogger,
        id: str = "",
    ) -> None:
        self._bus = bus
        self._executor = executor
        self._outbox = outbox
        self._name = name
        self._capacity = capacity
        self._topics = topics
        self._log = log
        self._id = id or incarnation()
        self._reporter = ReportSender()
        self._held: dict[Key, LeasedRun] = {}
        self._done: OrderedDict[Key, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._claim: wire.Claim | None = None
        self._claimed_at = 0.0
        self._beaten_at = 0.0
        self._lease_s = 10.0
        self._control = ""
        self._sending = False
        self._draining = False
        self._gone_at: float | None = None
        self.connected = asyncio.Event()
        self.finished = 0

    async def run(self) -> None:
        """Work until cancelled, or until drained."""
        for box in self._outbox.left():
            self._log.info("left by an earlier process", run_id=box.lease.run_id)
            if box.empty:
                box.discard()
            else:
                self._reporter.add(box)
        try:
            async with self._bus:
                try:
                    while not self._drained():
                        for arrival in await self._bus.receive(TURN_S):
                            self._take(arrival)
                        self._turn(time.monotonic())
                finally:
                    await self._leave()
        finally:
            self._reporter.close()
            self._outbox.close()

    async def _leave(self) -> None:
        """Stop what still runs. Its end is not this worker's to tell: nobody has cancelled it."""
        for held in self._held.values():
            held.wanted = False
        if self._held:
            runs = sorted(run_id for run_id, _ in self._held)
            self._log.warning("left before these runs had ended: they are lost", runs=runs)
        self._publish_presence(online=False)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drain(self, seconds: float) -> None:
        """Take nothing more, finish what runs within ``seconds``, and leave."""
        self._draining = True
        self._gone_at = time.monotonic() + seconds
        self._log.info("draining", runs=len(self._held))
        self._publish_presence(online=True)
        if self._claim is not None:
            self._send_claim(0)

    def _drained(self) -> bool:
        if not self._draining or self._gone_at is None:
            return False
        return (not self._held and self._reporter.empty) or time.monotonic() > self._gone_at

    @property
    def running(self) -> int:
        return len(self._held)

    # --- what arrives -----------------------------------------------------------------------------

    def _take(self, arrival: Arrival) -> None:
        match arrival:
            case Connected():
                self._log.info("connected", worker=self._name, incarnation=self._id)
                self._publish_presence(online=True)
                self._say_again()
                self.connected.set()
            case Disconnected(reason):
                self.connected.clear()
                self._log.warning("the broker is gone", why=reason)
            case Message() if arrival.topic == self._topics.control:
                self._heed_control(arrival)
            case Message():
                self._heed(arrival)

    def _heed_control(self, message: Message) -> None:
        """A control plane that has come (again) knows nothing of what it did not answer."""
        try:
            presence = wire.decode(wire.Presence, message.payload)
        except wire.WireError as error:
            self._log.warning("refused", topic=message.topic, why=str(error))
            return
        if presence.online and presence.incarnation != self._control:
            self._control = presence.incarnation
            self._publish_presence(online=True)
            self._say_again()
        elif not presence.online:
            self._control = ""

    def _heed(self, message: Message) -> None:
        try:
            if message.topic == self._topics.worker(self._name, "cmd"):
                self._obey(wire.decode(wire.Command, message.payload))
            else:
                self._hear(wire.decode(wire.Response, message.payload))  # type: ignore[arg-type]
        except wire.WireError as error:
            self._log.warning("refused", topic=message.topic, why=str(error)[:500])

    def _hear(self, response: wire.Response) -> None:
        match response:
            case wire.Acks():
                for key in self._reporter.acknowledge(response):
                    self._abandon(key)
                self._send_reports()
            case wire.Assignment():
                self._accept(response)

    def _obey(self, command: wire.Command) -> None:
        for one in command.cancel:
            if held := self._held.get((one.run_id, one.attempt)):
                held.cancel.set()
        for one in command.abandon:
            self._abandon((one.run_id, one.attempt))

    def _abandon(self, key: Key) -> None:
        """The run is somebody else's, or over: stop it, and say no more of it."""
        held = self._held.get(key)
        if held is not None and held.wanted:
            self._log.warning("abandoned", run_id=key[0], attempt=key[1])
            held.wanted = False
            held.cancel.set()
            self._reporter.drop(held.lease)

    # --- claims and runs --------------------------------------------------------------------------

    def _accept(self, assignment: wire.Assignment) -> None:
        fresh = [run for run in assignment.runs if self._is_new(run.lease)]
        awaited = self._claim is not None and self._claim.claim_id == assignment.claim_id
        if awaited:
            self._claim = None
        if not awaited or self._draining:
            self._release([run.lease for run in fresh])
        else:
            for run in fresh:
                self._begin(run)
        self._ask(time.monotonic())

    def _is_new(self, lease: wire.Lease) -> bool:
        key = (lease.run_id, lease.attempt)
        return key not in self._held and key not in self._done

    def _begin(self, run: wire.AssignedRun) -> None:
        self._lease_s = run.lease_s
        self._reporter.limit = min(MESSAGE_BYTES, run.payload_limit - ENVELOPE)
        held = LeasedRun(run.lease, self._outbox.open(run.lease))
        self._held[run.lease.run_id, run.lease.attempt] = held
        self._reporter.add(held.box)
        task = asyncio.create_task(self._perform(run, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform(self, run: wire.AssignedRun, held: LeasedRun) -> None:
        def receive(event: AnyEvent) -> None:
            if held.wanted:
                held.seq = event.seq + 1
                text = fitted(event, run.payload_limit - ENVELOPE)
                held.box.add(text, last=isinstance(event, RunComplete))
                self._send_soon()

        try:
            await self._executor.execute(run, receive, held.cancel)
        except Exception as error:
            receive(_failed(held, error))
        finally:
            self._end(held)

    def _end(self, held: LeasedRun) -> None:
        self.finished += 1
        key = (held.lease.run_id, held.lease.attempt)
        del self._held[key]
        self._done[key] = None
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        self._ask(time.monotonic())

    def _release(self, leases: list[wire.Lease]) -> None:
        if leases:
            self._say("release", wire.Release(incarnation=self._id, leases=leases))

    def _ask(self, now: float) -> None:
        """Claim what there is room for. A claim that is not answered yet is only made larger."""
        demand = min(self._capacity - len(self._held), 1000)
        if self._draining or demand <= 0 or not self.connected.is_set():
            return
        if self._claim is None or demand > self._claim.demand:
            self._send_claim(demand)
        elif now - self._claimed_at > REPEAT_CLAIM_S:
            self._send_claim(self._claim.demand)

    def _send_claim(self, demand: int) -> None:
        id = uuid4().hex if self._claim is None else self._claim.claim_id
        self._claim = wire.Claim(claim_id=id, demand=demand, incarnation=self._id)
        self._claimed_at = time.monotonic()
        self._say("claim", self._claim)

    # --- what is said -----------------------------------------------------------------------------

    def _turn(self, now: float) -> None:
        """What is due by now."""
        if not self.connected.is_set():
            return
        if self._reporter.late(now):
            self._reporter.rewind()
        self._send_reports()
        self._ask(now)
        if self._held and now - self._beaten_at > self._lease_s / BEATS:
            self._beat(now)

    def _beat(self, now: float) -> None:
        self._beaten_at = now
        leases = [held.lease for held in self._held.values() if held.wanted]
        self._say("beat", wire.Heartbeat(incarnation=self._id, leases=leases))

    def _say_again(self) -> None:
        self._reporter.rewind()
        self._send_reports()
        self._claimed_at = 0.0
        self._beat(time.monotonic())

    def _send_soon(self) -> None:
        """Send when the loop comes round: what else happens until then goes along."""
        if not self._sending:
            self._sending = True
            asyncio.get_running_loop().call_soon(self._send_now)

    def _send_now(self) -> None:
        self._sending = False
        self._send_reports()

    def _send_reports(self) -> None:
        if self.connected.is_set() and (reports := self._reporter.next(time.monotonic())):
            self._say("reports", reports)

    def _say(self, what: str, shape: wire.Payload) -> None:
        topic = self._topics.worker(self._name, what)
        self._bus.publish(Message(topic=topic, payload=wire.encode(shape)))

    def _publish_presence(self, *, online: bool) -> None:
        presence = wire.Presence(
            incarnation=self._id,
            online=online,
            capacity=self._capacity,
            draining=self._draining,
            version=VERSION,
        )
        self._bus.publish(_presence(self._topics, self._name, presence))


def _failed(held: LeasedRun, error: Exception) -> RunComplete:
    """The end of a run that this worker could not run: its own fault, or that of its settings."""
    found = StepError(type=type(error).__name__, message=str(error) or "no message")
    return RunComplete(
        run_id=held.lease.run_id,
        seq=held.seq,
        timestamp=time.time_ns() // 1000,
        reason="exception",
        error=found,
    )
