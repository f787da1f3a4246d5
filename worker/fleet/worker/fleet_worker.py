"""The fleet worker: claims as many runs as it has capacity for, executes and reports them.

A run is executed only after the control plane has confirmed its start. Claims, requests to start,
reports and heartbeats are retransmitted until they are acknowledged; responses and commands are
idempotent. A worker that drains claims no more, finishes its runs, hands back those that did
not begin, and ends when all events are acknowledged.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Protocol

from msgspec.structs import replace

from worker.core.events import AnyEvent
from worker.errors import WorkerError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import (
    Arrival,
    Bus,
    Congestion,
    Connected,
    Disconnected,
    Message,
)
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import (
    Acks,
    AssignedRun,
    Assignment,
    Attempt,
    Claim,
    Command,
    Fetched,
    Lease,
    Presence,
    Response,
    Starts,
    concerns,
)
from worker.fleet.worker.claim_demand import ClaimDemand
from worker.fleet.worker.claimed_runs import ClaimedRuns, attempt_key
from worker.fleet.worker.content_fetcher import RunContents
from worker.fleet.worker.drain import Drain
from worker.fleet.worker.event_receiver import EventReceiver, RecordedLines
from worker.fleet.worker.leased_run import LeasedRun
from worker.fleet.worker.name_claim import NameClaim
from worker.fleet.worker.outbox import Outbox
from worker.fleet.worker.plane_presence import GONE, PlanePresence
from worker.fleet.worker.report_publisher import ENVELOPE_BYTES, ReportPublisher
from worker.fleet.worker.report_sender import AttemptKey, Refusal, ReportSender
from worker.fleet.worker.worker_publisher import WorkerOffer, WorkerPublisher
from worker.sinks.log import LeveledLogger
from worker.util import invariant_checks
from worker.util.liveness import Liveness
from worker.util.machine_clock import monotonic_s

# Two heartbeats in a row may be lost before a lease expires.
HEARTBEATS_PER_LEASE = 4
TICK_S = 0.25
MAX_REMEMBERED = 10_000
"""How many finished attempts are remembered, to recognise repeated assignments."""


class Executor(Protocol):
    """Executes one run and passes its events to ``receive``."""

    async def execute(
        self, run: AssignedRun, receive: EventReceiver, cancel: asyncio.Event
    ) -> None: ...


class FleetWorker:
    """One worker, which runs until it is cancelled or has drained."""

    def __init__(
        self,
        bus: Bus,
        executor: Executor,
        outbox: Outbox,
        *,
        name: str,
        capacity: int,
        topics: Topics,
        log: LeveledLogger,
        id: str = "",
        offer: WorkerOffer = WorkerOffer(),
        erase_recordings: Callable[[str], int] = lambda run_id: 0,
        standby: bool = False,
        broker: str = "",
    ) -> None:
        """Set up a worker that is not connected yet; ``broker`` names the broker in its log."""
        id = id or incarnation()
        self._bus = bus
        self._publisher = WorkerPublisher(bus, topics, log, name=name, id=id)
        self._executor = executor
        self._outbox = outbox
        self._name = name
        self._capacity = capacity
        self._topics = topics
        self._log = log
        self._id = id
        self._predecessor = outbox.succeed(id)
        self._offer = offer
        self._erase_recordings = erase_recordings
        self._name_claim = NameClaim(name, id, standby=standby)
        self.connected = asyncio.Event()
        self._sender = ReportSender()
        self._reports = ReportPublisher(self._sender, self._publisher, self.connected, log)
        self._claimed = ClaimedRuns(capacity)
        self._contents = RunContents()
        self._runs: dict[AttemptKey, LeasedRun] = {}
        self._finished: OrderedDict[AttemptKey, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._demand = ClaimDemand(id)
        self._heartbeat_at = 0.0
        self._lease_s = 10.0
        self._broker = broker
        self._control_plane = PlanePresence()
        self._outdated = ""
        self._drain = Drain()
        self._disconnected_at = monotonic_s()
        self._liveness = Liveness()
        self._fill_scheduled = self._stopped = False
        self.finished = 0

    @property
    def capacity(self) -> int:
        return self._capacity

    @property
    def unacknowledged(self) -> tuple[int, float]:
        """The number of events that are not acknowledged yet, and the seconds of the oldest."""
        return self._sender.unacknowledged(monotonic_s())

    @property
    def dropped_messages(self) -> tuple[int, int]:
        """The numbers of received and of published messages that were dropped."""
        return self._bus.dropped

    @property
    def set_aside(self) -> int:
        """The number of reports that nobody can read, and that stay on this machine."""
        return self._reports.set_aside

    @property
    def running(self) -> int:
        return len(self._runs)

    @property
    def problem(self) -> str:
        """Why the worker cannot work at present; empty while it can."""
        if not self.connected.is_set():
            return "not connected to the broker"
        return self._publisher.refusal or self._name_claim.refused or self._outdated

    @property
    def stalled(self) -> str:
        """Why the process has to be started again; empty while it works."""
        return self._liveness.stalled

    async def run(self) -> None:
        """Execute runs until cancelled or drained."""
        self._reports.recover(self._outbox)
        try:
            async with self._bus:
                try:
                    while not self._drained():
                        for arrival in await self._bus.receive(TICK_S):
                            self._on_arrival(arrival)
                        self._liveness.mark()
                        self._tick(monotonic_s())
                finally:
                    await self._stop()
        finally:
            self._sender.close()
            self._outbox.close()

    async def _stop(self) -> None:
        self._stopped = True
        # The runs end because this process does. Nobody cancelled them, and their effects are
        # unknown: they are lost, and not reported as ended.
        aborted = [run.lease for run in self._runs.values() if run.wanted]
        for run in self._runs.values():
            run.wanted = False
        if self._name_claim.refused:
            self._log.warning("name.not_granted", name=self._name)
        if self._runs:
            self._log.warning("runs.aborted", runs=sorted(run_id for run_id, _ in self._runs))
        if (events := self.unacknowledged[0]) > 0:
            folder = str(self._outbox.folder)
            self._log.warning("reports.unacknowledged", events=events, outbox=folder)
        self._publisher.release(self._claimed.hand_back(monotonic_s(), all=True))
        self._publisher.abort(aborted, self._drain.reason)
        if not self._name_claim.refused:
            self._publish_presence(online=False)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drain(self, timeout_s: float | None = None) -> None:
        """Claim nothing more, finish the runs within ``timeout_s`` seconds, and end.

        By default the runs have as long as their own limits allow.
        """
        self._drain.begin(timeout_s, monotonic_s())
        self._publish_presence(online=True)
        self._hand_back(self._claimed.hand_back(monotonic_s(), all=True))
        if (claim := self._demand.withdraw(monotonic_s())) is not None:
            self._send_claim(claim)
        # Last, as it can fail: a log is a file of a disk that may be full.
        self._log.info("worker.draining", runs=len(self._runs))

    def _drained(self) -> bool:
        return self._drain.is_over(
            monotonic_s(),
            running=bool(self._runs),
            waiting=not self._sender.empty or len(self._claimed) > 0,
            away_deadline=self._away_deadline,
        )

    @property
    def _away_deadline(self) -> float:
        """The time after which waiting for the broker is of no use."""
        # A lease after the connection broke, the runs are lost for a control plane that is
        # connected; one that is not can wait as long for the next start of this worker.
        return math.inf if self.connected.is_set() else self._disconnected_at + self._lease_s

    # --- inbound messages -------------------------------------------------------------------------

    def _on_arrival(self, arrival: Arrival) -> None:
        match arrival:
            case Connected():
                self._log.info("broker.connected", worker=self._name, incarnation=self._id)
                self._reports.limit()
                self._publish_presence(online=True)
                self._retransmit()
                self.connected.set()
                self._control_plane.connect(monotonic_s())
            case Disconnected(reason):
                if self.connected.is_set():
                    self._disconnected_at = monotonic_s()
                self.connected.clear()
                self._control_plane.disconnect()
                self._log.warning("broker.disconnected", error=reason)
            case Congestion(dropped=0):
                self._log.warning("broker.congested")
            case Congestion(dropped=dropped):
                self._log.warning("broker.relieved", dropped=dropped)
                # All other messages are retransmitted until they have an answer.
                self._publish_presence(online=True)
            case Message():
                self._on_message(arrival)

    def _on_message(self, message: Message) -> None:
        try:
            if message.topic == self._topics.control:
                payload = message.payload
                self._on_control_presence(wire.decode(Presence, payload) if payload else GONE)
            elif message.topic == self._topics.worker(self._name, "cmd"):
                self._on_command(wire.decode(Command, message.payload))
            else:
                self._on_response(wire.decode(Response, message.payload))  # type: ignore[arg-type]
        except wire.WireError as error:
            self._log.warning("message.refused", topic=message.topic, error=str(error)[:500])

    def _on_control_presence(self, presence: Presence) -> None:
        # A new control plane holds no claims in memory, and has lost unhandled messages.
        if self._control_plane.update(presence, monotonic_s()):
            self._publish_presence(online=True)
            self._retransmit()

    def _on_response(self, response: Response) -> None:
        match response:
            case Acks():
                for refusal in self._sender.acknowledge(response):
                    self._on_refusal(refusal)
                self._reports.send()
            case Assignment():
                self._on_assignment(response)
            case Starts():
                self._on_starts(response)
            case Fetched():
                self._on_fetched(response)
            case wire.ChunkStored():
                for refusal in self._sender.chunk_stored(response):
                    self._on_refusal(refusal)
                self._reports.send()
            case wire.MissingContent():
                self._sender.send_again(response)
                self._reports.send()

    def _on_refusal(self, refusal: Refusal) -> None:
        # First: the run's own events must not follow the end that replaces them.
        self._abandon(refusal.key, keep=refusal.set_aside)
        if refusal.set_aside:
            self._reports.replace(refusal.outbox, refusal.seq, refusal.reason)

    def _on_command(self, command: Command) -> None:
        if (refusal := command.refused) is not None and refusal.incarnation == self._id:
            if not self._name_claim.refused:
                self._log.warning(
                    "name.taken", name=self._name, holder=refusal.holder, host=refusal.host
                )
            self._name_claim.refuse(refusal, monotonic_s())
        if command.outdated and command.outdated != self._outdated:
            self._outdated = command.outdated
            self._log.warning("message.refused", kind="outdated", error=command.outdated)
        for attempt in command.cancel:
            if run := self._runs.get(attempt_key(attempt)):
                run.cancel.set()
        for attempt in command.abandon:
            self._abandon_attempt(attempt)
        for run_id in command.erase:
            self._erase(run_id)

    def _abandon_attempt(self, attempt: Attempt) -> None:
        key = attempt_key(attempt)
        # A late response to a message under an earlier lease of the same attempt.
        if key in self._claimed and not self._claimed.holds(attempt):
            return
        if key in self._runs and not concerns(attempt, self._runs[key].lease):
            return
        self._claimed.drop(key)
        self._contents.drop(key)
        self._abandon(key)

    def _erase(self, run_id: str) -> None:
        """Delete all that is here of a run: its outboxes, what was set aside, recordings."""
        for key in [key for key in self._runs if key[0] == run_id]:
            self._abandon(key)
        self._sender.drop_run(run_id)
        erased = 0
        # Each by itself: where one fails, the other is erased nevertheless.
        for erase in (self._outbox.erase, self._erase_recordings):
            try:
                erased += erase(run_id)
            except (OSError, WorkerError) as error:
                self._log.warning("run.not_erased", run_id=run_id, error=str(error)[:500])
        if erased:
            self._log.info("run.erased", run_id=run_id)

    def _abandon(self, key: AttemptKey, *, keep: bool = False) -> None:
        """Stop a run whose events are accepted no more, and discard them unless ``keep``."""
        run = self._runs.get(key)
        if run is not None and run.wanted:
            self._log.warning("run.abandoned", run_id=key[0], attempt=key[1])
            run.wanted = False
            run.cancel.set()
            if not keep:
                self._sender.drop(run.lease)

    # --- claims and runs --------------------------------------------------------------------------

    def _on_assignment(self, assignment: Assignment) -> None:
        new = [run for run in assignment.runs if self._is_new(run.lease)]
        is_expected = self._demand.answer(assignment)
        # A response to an earlier claim may exceed the capacity by now.
        if not is_expected or self._drain.begun:
            self._publisher.release([run.lease for run in new])
        else:
            for run in new:
                self._lease_s = run.lease_s
                complete = self._contents.complete(run)
                self._claimed.add(complete or run, monotonic_s(), ready=complete is not None)
        self._fetch_contents(monotonic_s())
        self._fill_slots(monotonic_s())

    def _fetch_contents(self, now: float, *, repeat: bool = False) -> None:
        if self.connected.is_set():
            for request in self._contents.due(now, repeat=repeat):
                self._publisher.publish("fetch", request)

    def _on_fetched(self, fetched: Fetched) -> None:
        now = monotonic_s()
        run = self._contents.receive(fetched)
        if run is not None:
            self._claimed.add(run, now)
            self._fill_slots(now)
        self._fetch_contents(now)

    def _is_new(self, lease: Lease) -> bool:
        key = attempt_key(lease)
        return not (key in self._runs or key in self._claimed or key in self._finished)

    def _fill_slots(self, now: float) -> None:
        """Request the start of claimed runs for free slots, and claim more."""
        self._request_starts(now)
        self._send_claim_if_due(now)

    def _schedule_fill(self) -> None:
        """Fill the slots once all runs have ended that end in this turn: in one message."""
        if not self._fill_scheduled:
            self._fill_scheduled = True
            asyncio.get_running_loop().call_soon(self._fill_freed_slots)

    def _fill_freed_slots(self) -> None:
        self._fill_scheduled = False
        if not self._stopped:
            self._fill_slots(monotonic_s())

    def _request_starts(self, now: float, *, repeat: bool = False) -> None:
        free = self._capacity - len(self._runs) - self._claimed.requested
        if self._drain.begun:
            free = 0
        # Requested while disconnected, a start would wait for its first repetition.
        if self.connected.is_set():
            self._publisher.request_starts(self._claimed.due(free, now, repeat=repeat))

    def _on_starts(self, starts: Starts) -> None:
        now = monotonic_s()
        for run in self._claimed.answer(starts, now):
            self._execute_started(run, now)
        self._fill_slots(now)

    def _execute_started(self, assigned: AssignedRun, now: float) -> None:
        self._reports.limit(assigned.payload_limit)
        run = LeasedRun(assigned.lease, self._outbox.open(assigned.lease), now)
        self._runs[attempt_key(assigned.lease)] = run
        self._sender.add(run.outbox)
        self._start_task(self._execute(assigned, run))

    async def _execute(self, assigned: AssignedRun, run: LeasedRun) -> None:
        limit_bytes = assigned.payload_limit - ENVELOPE_BYTES

        def receive(event: AnyEvent, recorded: RecordedLines | None = None) -> None:
            if run.wanted:
                run.add(event, recorded, limit_bytes)
                self._reports.schedule(run.outbox)

        # A line of a recording is sent whole, so it has to fit a message of this broker.
        line_bytes = min(self._bus.max_message_bytes, assigned.payload_limit)
        executed = replace(assigned, payload_limit=line_bytes)
        try:
            await self._executor.execute(executed, receive, run.cancel)
        except Exception as error:
            receive(run.failure(error))
        finally:
            self._finish(run)

    def _finish(self, run: LeasedRun) -> None:
        now = monotonic_s()
        self.finished += 1
        self._claimed.ended(now - run.began)
        key = attempt_key(run.lease)
        del self._runs[key]
        self._finished[key] = None
        if len(self._finished) > MAX_REMEMBERED:
            self._finished.popitem(last=False)
        self._schedule_fill()

    # --- outbound messages ------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        """Send what is due."""
        for invariant, problem in invariant_checks.take_news():
            self._log.critical("invariant.broken", invariant=invariant, error=problem[:500])
        if not self.connected.is_set():
            return
        if self._control_plane.take_absence(now):
            self._log.warning(
                "control_plane.awaited",
                worker=self._name,
                broker=self._broker,
                topic=self._topics.control,
                hint="start `worker control-plane` on this broker, or name another with --mqtt",
            )
        if self._name_claim.birth_due(now):
            self._publish_presence(online=True)
        if self._sender.overdue(now):
            self._sender.give_up()
        self._reports.send()
        self._hand_back(self._claimed.hand_back(now))
        self._fetch_contents(now)
        self._fill_slots(now)
        has_leases = self._runs or len(self._claimed) or self._sender.unreported
        if has_leases and now - self._heartbeat_at > self._lease_s / HEARTBEATS_PER_LEASE:
            self._send_heartbeat(now)

    def _retransmit(self) -> None:
        """Send everything again that was not acknowledged."""
        self._sender.restart()
        self._reports.send()
        self._demand.repeat()
        self._fetch_contents(monotonic_s(), repeat=True)
        self._request_starts(monotonic_s(), repeat=True)
        self._send_heartbeat(monotonic_s())

    def _send_claim_if_due(self, now: float) -> None:
        taken = len(self._runs) + len(self._claimed)
        free = self._capacity + self._claimed.ahead - taken
        if self._drain.begun or not self.connected.is_set() or self._name_claim.refused:
            return
        if (claim := self._demand.due(free, now)) is not None:
            self._send_claim(claim)

    def _send_claim(self, claim: Claim) -> None:
        if claim.repeated:
            self._start_task(self._publisher.confirm_claim(claim))
        else:
            self._publisher.publish("claim", claim)

    def _start_task(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hand_back(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._contents.drop(attempt_key(lease))
        self._publisher.release(leases)

    def _send_heartbeat(self, now: float) -> None:
        self._heartbeat_at = now
        executed = [run.lease for run in self._runs.values() if run.wanted]
        # The events of a run that has ended may take longer than a lease, if they are large.
        executed += [
            lease for lease in self._sender.unreported if attempt_key(lease) not in self._runs
        ]
        self._publisher.beat(executed + self._claimed.leases)

    def _publish_presence(self, *, online: bool) -> None:
        self._publisher.publish_presence(
            self._offer,
            online=online,
            capacity=self._capacity,
            draining=self._drain.begun,
            predecessor=self._predecessor,
        )
