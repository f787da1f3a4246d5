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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from socket import gethostname as host_name
from typing import Protocol

from msgspec.structs import replace

from worker.core.events import AnyEvent, RunComplete
from worker.core.outcome import StepError
from worker.errors import WorkerError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import (
    Arrival,
    BrokerRefusal,
    Bus,
    Congestion,
    Connected,
    Disconnected,
    Message,
    problem_of,
)
from worker.fleet.messaging.content import MAX_MESSAGE_BYTES, MIN_MESSAGE_BYTES
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.recorded_lines import ESCAPED_SIZE, attach
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import (
    PROTOCOL,
    Acks,
    AssignedRun,
    Assignment,
    Attempt,
    Claim,
    Command,
    Fetched,
    Heartbeat,
    Lease,
    Presence,
    Release,
    Response,
    StartRequest,
    Starts,
    concerns,
)
from worker.fleet.worker.claimed_runs import ClaimedRuns, attempt_key
from worker.fleet.worker.content_fetcher import RunContents
from worker.fleet.worker.event_receiver import EventReceiver, RecordedLines
from worker.fleet.worker.event_size import encode_within
from worker.fleet.worker.name_claim import NameClaim
from worker.fleet.worker.outbox import Outbox, RunOutbox
from worker.fleet.worker.report_sender import AttemptKey, Refusal, ReportSender
from worker.sinks.log import LeveledLogger
from worker.util import invariant_checks
from worker.util.invariant_checks import Invariant
from worker.util.liveness import Liveness
from worker.util.machine_clock import monotonic_s, now_us, random_hex
from worker.version import VERSION

REPEAT_CLAIM_S = 2.0
# Two heartbeats in a row may be lost before a lease expires.
HEARTBEATS_PER_LEASE = 4
TICK_S = 0.25
RESPONSE_DRAIN_S = 30.0
"""How long a worker that drains waits for responses after the end of its last run."""
MAX_DEMAND = 1000
ENVELOPE_BYTES = 4096
"""The size of a message without its events."""
MAX_LEASES = 400
"""The most leases of a message, which the smallest usual packet of 128 kB has room for."""
MAX_REMEMBERED = 10_000
"""How many finished attempts are remembered, to recognise repeated assignments."""


class Executor(Protocol):
    """Executes one run and passes its events to ``receive``."""

    async def execute(
        self, run: AssignedRun, receive: EventReceiver, cancel: asyncio.Event
    ) -> None: ...


@dataclass(slots=True)
class LeasedRun:
    """A run that this worker executes. Its events are dropped once it is not ``wanted``."""

    lease: Lease
    outbox: RunOutbox
    began: float
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    next_seq: int = 0
    wanted: bool = True


def worker_will(topics: Topics, name: str, id: str) -> Message:
    """Build the message that the broker publishes when a worker's connection breaks."""
    return _presence(topics, name, Presence(incarnation=id, online=False))


def _presence(topics: Topics, name: str, presence: Presence) -> Message:
    topic = topics.worker(name, "status")
    return Message(topic=topic, payload=wire.encode(presence), retain=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOffer:
    """What a worker offers: its labels, credentials and adaptors; ``None``: not reported."""

    labels: tuple[str, ...] = ()
    credentials: tuple[str, ...] | None = None
    adaptors: tuple[str, ...] | None = None


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
    ) -> None:
        self._bus = bus
        self._executor = executor
        self._outbox = outbox
        self._name = name
        self._capacity = capacity
        self._topics = topics
        self._log = log
        self._id = id or incarnation()
        self._predecessor = outbox.succeed(self._id)
        self._offer = offer
        self._erase_recordings = erase_recordings
        self._name_claim = NameClaim(name, self._id, standby=standby)
        self._sender = ReportSender()
        self._claimed = ClaimedRuns(capacity)
        self._contents = RunContents()
        self._runs: dict[AttemptKey, LeasedRun] = {}
        self._finished: OrderedDict[AttemptKey, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._claim: Claim | None = None
        self._claimed_at = 0.0
        self._heartbeat_at = 0.0
        self._lease_s = 10.0
        self._payload_limit = MAX_MESSAGE_BYTES
        self._control_plane = ""
        self._send_scheduled = False
        self._unwritten: list[RunOutbox] = []
        self._refusal = ""
        self._outdated = ""
        self._draining = False
        self._drain_s: float | None = None
        self._drain_deadline = self._response_deadline = math.inf
        self.connected = asyncio.Event()
        self._disconnected_at = monotonic_s()
        self._liveness = Liveness()
        self._write_error = ""
        self.finished = 0
        self.set_aside = 0

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
    def running(self) -> int:
        return len(self._runs)

    @property
    def problem(self) -> str:
        """Why the worker cannot work at present; empty while it can."""
        if not self.connected.is_set():
            return "not connected to the broker"
        return self._refusal or self._name_claim.refused or self._outdated

    @property
    def stalled(self) -> str:
        """Why the process has to be started again; empty while it works."""
        return self._liveness.stalled

    async def run(self) -> None:
        """Execute runs until cancelled or drained."""
        self._recover_outboxes()
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

    def _recover_outboxes(self) -> None:
        for outbox in self._outbox.recover():
            self._log.info("outbox.recovered", run_id=outbox.lease.run_id)
            if outbox.unreadable:
                self._replace(outbox, outbox.next_seq, outbox.unreadable)
            if outbox.empty:
                outbox.discard()
            else:
                self._sender.add(outbox)
        for reason in self._outbox.unreadable:
            self.set_aside += 1
            self._log.warning("report.set_aside", error=reason[:500])

    async def _stop(self) -> None:
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
        self._release(self._claimed.hand_back(monotonic_s(), all=True), aborted)
        if not self._name_claim.refused:
            self._publish_presence(online=False)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drain(self, timeout_s: float | None = None) -> None:
        """Claim nothing more, finish the runs within ``timeout_s`` seconds, and end.

        By default the runs have as long as their own limits allow.
        """
        self._draining = True
        self._drain_s = timeout_s
        self._drain_deadline = math.inf if timeout_s is None else monotonic_s() + timeout_s
        self._publish_presence(online=True)
        self._hand_back(self._claimed.hand_back(monotonic_s(), all=True))
        if self._claim is not None:
            self._send_claim(0)
        # Last, as it can fail: a log is a file of a disk that may be full.
        self._log.info("worker.draining", runs=len(self._runs))

    def _drained(self) -> bool:
        if not self._draining:
            return False
        now = monotonic_s()
        if self._runs:
            self._response_deadline = math.inf
            return now > self._drain_deadline
        if self._sender.empty and not len(self._claimed):
            return True
        # What is left needs responses, which may never come: the runs have no limit that counts
        # here. Reports stay in the outbox, for the next start.
        self._response_deadline = min(self._response_deadline, now + RESPONSE_DRAIN_S)
        return now > min(self._drain_deadline, self._response_deadline, self._away_deadline)

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
                self._limit_reports()
                self._publish_presence(online=True)
                self._retransmit()
                self.connected.set()
            case Disconnected(reason):
                if self.connected.is_set():
                    self._disconnected_at = monotonic_s()
                self.connected.clear()
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
                self._on_control_presence(wire.decode(Presence, message.payload))
            elif message.topic == self._topics.worker(self._name, "cmd"):
                self._on_command(wire.decode(Command, message.payload))
            else:
                self._on_response(wire.decode(Response, message.payload))  # type: ignore[arg-type]
        except wire.WireError as error:
            self._log.warning("message.refused", topic=message.topic, error=str(error)[:500])

    def _on_control_presence(self, presence: Presence) -> None:
        # A new control plane holds no claims in memory, and has lost unhandled messages.
        if presence.online and presence.incarnation != self._control_plane:
            self._control_plane = presence.incarnation
            self._publish_presence(online=True)
            self._retransmit()
        elif not presence.online:
            self._control_plane = ""

    def _on_response(self, response: Response) -> None:
        match response:
            case Acks():
                for refusal in self._sender.acknowledge(response):
                    self._on_refusal(refusal)
                self._send_reports()
            case Assignment():
                self._on_assignment(response)
            case Starts():
                self._on_starts(response)
            case Fetched():
                self._on_fetched(response)
            case wire.ChunkStored():
                for refusal in self._sender.chunk_stored(response):
                    self._on_refusal(refusal)
                self._send_reports()
            case wire.MissingContent():
                self._sender.send_again(response)
                self._send_reports()

    def _on_refusal(self, refusal: Refusal) -> None:
        # First: the run's own events must not follow the end that replaces them.
        self._abandon(refusal.key, keep=refusal.set_aside)
        if refusal.set_aside:
            self._replace(refusal.outbox, refusal.seq, refusal.reason)

    def _replace(self, outbox: RunOutbox, seq: int, reason: str) -> None:
        """Set aside events that nobody can read, and end their run as exception."""
        if not outbox.is_replaced:
            self.set_aside += 1
            run_id = outbox.lease.run_id
            self._log.warning("report.set_aside", run_id=run_id, error=reason[:500])
        message = f"the events of the run cannot be reported, and are set aside: {reason[:500]}"
        error = StepError(type="ReportRefusedError", message=message)
        event = _exception(outbox.lease, seq, error)
        outbox.replace(encode_within(event, MAX_MESSAGE_BYTES), seq, reason)

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
        expected = self._claim is not None and self._claim.claim_id == assignment.claim_id
        if expected:
            self._claim = None
        # A response to an earlier claim may exceed the capacity by now.
        if not expected or self._draining:
            self._release([run.lease for run in new])
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
                self._publish("fetch", request)

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

    def _request_starts(self, now: float, *, repeat: bool = False) -> None:
        free = 0 if self._draining else self._capacity - len(self._runs) - self._claimed.requested
        # Requested while disconnected, a start would wait for its first repetition.
        if self.connected.is_set():
            for leases in _in_messages(self._claimed.due(free, now, repeat=repeat)):
                self._publish("start", StartRequest(incarnation=self._id, leases=leases))

    def _on_starts(self, starts: Starts) -> None:
        now = monotonic_s()
        for run in self._claimed.answer(starts, now):
            self._execute_started(run, now)
        self._fill_slots(now)

    def _execute_started(self, assigned: AssignedRun, now: float) -> None:
        self._payload_limit = assigned.payload_limit
        self._limit_reports()
        run = LeasedRun(assigned.lease, self._outbox.open(assigned.lease), now)
        self._runs[attempt_key(assigned.lease)] = run
        self._sender.add(run.outbox)
        task = asyncio.create_task(self._execute(assigned, run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _limit_reports(self) -> None:
        limit_bytes = min(self._bus.max_message_bytes, self._payload_limit)
        self._sender.max_bytes = limit_bytes - ENVELOPE_BYTES

    async def _execute(self, assigned: AssignedRun, run: LeasedRun) -> None:
        limit_bytes = assigned.payload_limit - ENVELOPE_BYTES

        def receive(event: AnyEvent, recorded: RecordedLines | None = None) -> None:
            if run.wanted:
                invariant_checks.require(Invariant.OUTBOX_WRITTEN, _problem_of(event, run))
                run.next_seq = event.seq + 1
                last = isinstance(event, RunComplete)
                text = encode_within(event, limit_bytes)
                if recorded is not None:
                    lines = recorded.take((limit_bytes - len(text)) // ESCAPED_SIZE, last=last)
                    text = attach(text, lines) if lines else text
                run.outbox.add(text, last=last)
                self._unwritten.append(run.outbox)
                self._schedule_send()

        # A line of a recording is sent whole, so it has to fit a message of this broker.
        line_bytes = min(self._bus.max_message_bytes, assigned.payload_limit)
        executed = replace(assigned, payload_limit=line_bytes)
        try:
            await self._executor.execute(executed, receive, run.cancel)
        except Exception as error:
            receive(_failure(run, error))
        finally:
            self._finish(run)

    def _report_write_error(self, error: str) -> None:
        # Once per change: a full disk concerns every event of every run.
        if error != self._write_error:
            self._write_error = error
            self._log.warning("outbox.unwritable" if error else "outbox.writable", error=error)

    def _finish(self, run: LeasedRun) -> None:
        now = monotonic_s()
        self.finished += 1
        self._claimed.ended(now - run.began)
        key = attempt_key(run.lease)
        del self._runs[key]
        self._finished[key] = None
        if len(self._finished) > MAX_REMEMBERED:
            self._finished.popitem(last=False)
        self._fill_slots(now)

    # --- outbound messages ------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        """Send what is due."""
        for invariant, problem in invariant_checks.take_news():
            self._log.critical("invariant.broken", invariant=invariant, error=problem[:500])
        if not self.connected.is_set():
            return
        if self._name_claim.birth_due(now):
            self._publish_presence(online=True)
        if self._sender.overdue(now):
            self._sender.give_up()
        self._send_reports()
        self._hand_back(self._claimed.hand_back(now))
        self._fetch_contents(now)
        self._fill_slots(now)
        has_leases = self._runs or len(self._claimed) or self._sender.unreported
        if has_leases and now - self._heartbeat_at > self._lease_s / HEARTBEATS_PER_LEASE:
            self._send_heartbeat(now)

    def _retransmit(self) -> None:
        """Send everything again that was not acknowledged."""
        self._sender.restart()
        self._send_reports()
        self._claimed_at = 0.0
        self._fetch_contents(monotonic_s(), repeat=True)
        self._request_starts(monotonic_s(), repeat=True)
        self._send_heartbeat(monotonic_s())

    def _send_claim_if_due(self, now: float) -> None:
        taken = len(self._runs) + len(self._claimed)
        demand = min(self._capacity + self._claimed.ahead - taken, MAX_DEMAND)
        if self._draining or demand <= 0 or not self.connected.is_set() or self._name_claim.refused:
            return
        if self._claim is None:
            self._send_claim(demand)
            return
        # A pending claim is never reduced: the control plane may be answering it right now.
        demand = max(demand, self._claim.demand)
        is_late = now - self._claimed_at > REPEAT_CLAIM_S
        if is_late or demand > self._claim.demand:
            self._send_claim(demand, repeated=is_late)

    def _send_claim(self, demand: int, *, repeated: bool = False) -> None:
        id = random_hex(16) if self._claim is None else self._claim.claim_id
        self._claim = Claim(
            claim_id=id, demand=demand, incarnation=self._id, protocol=PROTOCOL,
            repeated=repeated,
        )  # fmt: skip
        self._claimed_at = monotonic_s()
        if not repeated:
            self._publish("claim", self._claim)
            return
        # A claim without a response may be denied by the broker: with QoS 1 it reports that.
        task = asyncio.create_task(self._confirm("claim", self._claim))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _confirm(self, channel: str, payload: wire.Payload) -> None:
        topic = self._topics.worker(self._name, channel)
        try:
            await self._bus.confirm(Message(topic=topic, payload=wire.encode(payload)))
        except ConnectionError:
            return
        except BrokerRefusal as refusal:
            if not self._refusal:
                self._log.warning("broker.refused", error=str(refusal))
            self._refusal = str(refusal)
        else:
            self._refusal = ""

    def _hand_back(self, leases: list[Lease]) -> None:
        for lease in leases:
            self._contents.drop(attempt_key(lease))
        self._release(leases)

    def _release(self, leases: list[Lease], aborted: Sequence[Lease] = ()) -> None:
        if not leases and not aborted:
            return
        reason = "" if self._drain_s is None else f"its drain time of {self._drain_s:g} s was over"
        for part in _in_messages(leases):
            self._publish("release", Release(incarnation=self._id, leases=part))
        for part in _in_messages(aborted):
            release = Release(incarnation=self._id, leases=[], aborted=part, reason=reason)
            self._publish("release", release)

    def _send_heartbeat(self, now: float) -> None:
        self._heartbeat_at = now
        executed = [run.lease for run in self._runs.values() if run.wanted]
        # The events of a run that has ended may take longer than a lease, if they are large.
        executed += [
            lease for lease in self._sender.unreported if attempt_key(lease) not in self._runs
        ]
        # Without leases too: the control plane shows by it when it heard of the worker last.
        for leases in _in_messages(executed + self._claimed.leases) or [[]]:
            self._publish("beat", Heartbeat(incarnation=self._id, leases=leases))

    def _schedule_send(self) -> None:
        # Deferred to the next turn of the loop: events that come until then share the message, and
        # those of a run are written at once.
        if not self._send_scheduled:
            self._send_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_scheduled_reports)

    def _send_scheduled_reports(self) -> None:
        self._send_scheduled = False
        outboxes, self._unwritten = self._unwritten, []
        for outbox in outboxes:
            outbox.flush()
            self._report_write_error(outbox.write_error)
        self._send_reports()

    def _send_reports(self) -> None:
        if self._sender.empty or not self.connected.is_set():
            return
        now = monotonic_s()
        if reports := self._sender.next(now):
            self._publish("reports", reports)
        limit_bytes = min(self._bus.max_message_bytes, self._payload_limit)
        for chunk in self._sender.chunks(now, max(MIN_MESSAGE_BYTES, limit_bytes)):
            self._publish("chunk", chunk, bulk=True)

    def _publish(self, channel: str, payload: wire.Payload, *, bulk: bool = False) -> None:
        topic = self._topics.worker(self._name, channel)
        message = Message(topic=topic, payload=wire.encode(payload), bulk=bulk)
        problem = problem_of(message, self._bus.max_message_bytes)
        invariant_checks.note(Invariant.MESSAGE_SENT, problem)
        self._bus.publish(message)

    def _publish_presence(self, *, online: bool) -> None:
        presence = Presence(
            incarnation=self._id,
            online=online,
            capacity=self._capacity,
            draining=self._draining,
            version=VERSION,
            labels=self._offer.labels,
            credentials=self._offer.credentials,
            adaptors=self._offer.adaptors,
            host=host_name()[:200],
            protocol=PROTOCOL,
            succeeds=self._predecessor or None,
        )
        self._bus.publish(_presence(self._topics, self._name, presence))


def _in_messages(leases: Sequence[Lease]) -> list[list[Lease]]:
    """Split leases into those of each message."""
    return [list(leases[at : at + MAX_LEASES]) for at in range(0, len(leases), MAX_LEASES)]


def _problem_of(event: AnyEvent, run: LeasedRun) -> str:
    """Return why an event must not enter the outbox of a run; an empty text for a sound one."""
    # After a gap the control plane would accept nothing, and the run would be reported for ever.
    if event.seq == run.next_seq and event.run_id == run.lease.run_id:
        return ""
    return (
        f"event {event.seq} of run {event.run_id} instead of {run.next_seq} of {run.lease.run_id}"
    )


def _failure(run: LeasedRun, error: Exception) -> RunComplete:
    """Build the end of a run that could not be executed, for a reason outside the run."""
    step_error = StepError(type=type(error).__name__, message=str(error) or "no message")
    return _exception(run.lease, run.next_seq, step_error)


def _exception(lease: Lease, seq: int, error: StepError) -> RunComplete:
    return RunComplete(
        run_id=lease.run_id, seq=seq, timestamp=now_us(), reason="exception", error=error
    )
