"""Targets that are messages of a fleet, to the control plane and to a worker, and outboxes."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.support.control_plane_harness import (
    ME,
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    decode_outgoing,
    event,
    plan,
    violations,
)
from tools.fuzz.changes import Parts
from tools.fuzz.fuzzer import Fault
from tools.fuzz.inputs import Pairs, from_data, to_json
from worker.core.events import AnyEvent, RunComplete, RunStart
from worker.fleet.control.store.store import Store
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Arrival, Connected, Message
from worker.fleet.messaging.content import MAX_MESSAGE_BYTES
from worker.fleet.messaging.worker_protocol import (
    Ack,
    Acks,
    AssignedRun,
    Attempt,
    Claim,
    Lease,
    Reports,
    RunReport,
    StartRequest,
    Starts,
)
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.sinks.log import LeveledLogger
from worker.util import machine_clock
from worker.util.machine_clock import Machine

RENEWED_AFTER = 150
"""Inputs after which a control plane is replaced by a new one, as its database grows."""
MAX_TURNS = 1000
MAX_MESSAGES = 30
SEPARATOR = b"\n\x1e"


def _payload(node: Any) -> bytes:
    return to_json(node).encode("utf-8", "surrogatepass")


def _messages(data: bytes) -> list[Message]:
    """Decode an input: the topic, the reply topic and the payload of each message."""
    messages = []
    for record in data.split(SEPARATOR):
        topic, _, rest = record.partition(b"\n")
        reply_to, _, payload = rest.partition(b"\n")
        messages.append(
            Message(
                topic=topic.decode("utf-8", "surrogatepass") if topic.isascii() else "é",
                reply_to=reply_to.decode("utf-8", "replace"),
                payload=payload,
            )
        )
    return messages


def _record(part: Any) -> bytes:
    if not isinstance(part, Pairs):
        part = Pairs((("topic", ""), ("reply_to", ""), ("payload", part)))
    values = part.get("topic"), part.get("reply_to")
    texts = [value if isinstance(value, str) else to_json(value) for value in values]
    lines = [text.encode("utf-8", "replace") for text in texts]
    return b"\n".join(
        (*(line.replace(b"\n", b"") for line in lines), _payload(part.get("payload")))
    )


class _Messages:
    """A batch of messages."""

    large = False

    def encode(self, parts: Parts) -> bytes:
        return SEPARATOR.join(map(_record, parts))


# --- to the control plane -------------------------------------------------------------------------


class ControlMessages(_Messages):
    """Messages of workers and clients to a control plane with runs in each phase."""

    name = "control"

    def __init__(self) -> None:
        self._inputs = 0
        self._start()

    def _start(self) -> None:
        self._store = Store("sqlite://")
        self._store.migrate()
        self.harness = harness = ControlPlaneHarness(self._store)
        harness.ended("done")
        harness.ended("failed", "exception")
        FakeWorker(harness).birth(capacity=3)
        _, self._started = harness.started("started")
        _, self._claimed = harness.claimed("claimed")
        harness.submit("waits", plan=plan("mine"))
        harness.submit("healthy")
        self._healthy = FakeWorker(harness, "south")
        # Both waiting runs, of which one stays healthy.
        self._lease = next(
            run.lease for run in self._healthy.claim(2) if run.lease.run_id == "healthy-1"
        )
        self._healthy.start(self._lease)
        self._seq = 0

    def close(self) -> None:
        self._store.close()

    def seeds(self) -> Sequence[Parts]:
        lease = json.loads(wire.encode(self._started))
        claimed = json.loads(wire.encode(self._claimed))
        types = ("step:start", "run:log", "step:complete", "run:complete")
        events = [event("started-1", number, type) for number, type in enumerate(types, 1)]
        events[2] |= {"output_dataclip": {"data": {"a": [1]}}, "output_dataclip_id": "c1"}
        to_plane = {
            "status": {"incarnation": "i1", "online": True, "capacity": 2, "version": "1"},
            "claim": {"claim_id": "c1", "demand": 2, "incarnation": "i1", "protocol": 1},
            "reports": {"number": 3, "runs": [{"lease": lease, "events": events}]},
            "beat": {"incarnation": "i1", "leases": [lease]},
            "start": {"incarnation": "i1", "leases": [claimed]},
            "release": {"incarnation": "i1", "leases": [claimed]},
        }
        options = {"timeout_s": 3.5, "memory_mb": 100, "start": "a"}
        query = {"status": "success", "project": "default", "limit": 5, "before": 9, "search": "a"}
        requests = {
            "submit": {"order_id": "new", "plan": plan(), "input": {"data": {}}, "priority": 1,
                       "options": options},
            "cancel": {"id": "started"},
            "retry": {"id": "done", "run_id": "again", "from_step": "a"},
            "orders": query, "runs": query, "order": {"order_id": "done"}, "run": {"id": "done-1"},
            "events": {"run_id": "done", "after": 0, "limit": 5, "clips": True},
            "workers": {}, "alerts": {}, "summary": {}, "workflows": {},
        }  # fmt: skip
        parts = [_part(TOPICS.worker("north", name), body) for name, body in to_plane.items()]
        parts += [_part(TOPICS.request(name), body, ME) for name, body in requests.items()]
        return [(part,) for part in parts] + [tuple(parts)]

    def execute(self, data: bytes) -> None:
        self._inputs += 1
        if self._inputs % RENEWED_AFTER == 0:
            self.close()
            self._start()
        messages = _messages(data)
        replies = self._count_replies(messages)
        requests = [
            message
            for message in messages
            if TOPICS.is_reply_topic(message.reply_to)
            and (TOPICS.parse(message.topic) or ("",))[0] == "requests"
        ]
        if replies != len(requests):
            raise Fault("a request has no reply, or more than one")
        self._check_healthy()
        with self._store.read() as connection:
            broken = next(violations(connection), "")
        if broken:
            raise Fault(broken)

    def _count_replies(self, messages: Sequence[Message]) -> int:
        """Send a batch, and the queries that wait each time for the next one."""
        count = 0
        while messages:
            published = self.harness.send(*messages)
            if len(published.postponed) >= len(messages):
                raise Fault("queries wait for ever")
            count, messages = count + len(published.replies), published.postponed
        return count

    def _check_healthy(self) -> None:
        """Raise :class:`Fault` where the messages have blocked the run of another worker."""
        self._seq += 1
        report = self._healthy.report(self._lease, event("healthy-1", self._seq))
        if [ack.upto for ack in report.acks] != [self._seq]:
            raise Fault("the report of another run is not acknowledged")


def _part(topic: str, payload: Any, reply_to: str = "") -> Any:
    return from_data({"topic": topic, "reply_to": reply_to, "payload": payload})


# --- a worker -------------------------------------------------------------------------------------


class FakeTime:
    """Clock that goes on where the worker waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0


class FakeBus:
    """Bus that answers each message at once, by a function, and whose time passes at once."""

    max_message_bytes = MAX_MESSAGE_BYTES
    waiting = dropped = (0, 0)
    oldest_s = 0.0

    def __init__(self, clock: FakeTime, answer: Callable[[Message], list[Message]]) -> None:
        self._clock = clock
        self._answer = answer
        self._arrivals: deque[Arrival] = deque([Connected()])
        self._turns = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *reason: object) -> None:
        pass

    def publish(self, message: Message) -> None:
        self._arrivals += self._answer(message)

    async def confirm(self, message: Message) -> None:
        self.publish(message)

    def subscribe(self, filter: str) -> None:
        pass

    def unsubscribe(self, filter: str) -> None:
        pass

    async def receive(self, wait_s: float | None = None) -> list[Arrival]:
        self._turns += 1
        if self._turns > MAX_TURNS:
            raise Fault("the worker does not end")
        # Tasks of runs go on here.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        arrivals = list(self._arrivals)
        self._arrivals.clear()
        if not arrivals:
            self._clock.now_s += wait_s or 1.0
        return arrivals


class InstantExecutor:
    """Executor of runs that start and end."""

    async def execute(
        self, run: AssignedRun, receive: Callable[[AnyEvent], None], cancel: asyncio.Event
    ) -> None:
        id = run.lease.run_id
        receive(RunStart(run_id=id, seq=0, timestamp=1, workflow="flow", versions={}))
        await asyncio.sleep(0)
        receive(RunComplete(run_id=id, seq=1, timestamp=2, reason="success"))


class _Silent:
    """Log that is not written."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **fields: None


class _WorkerTarget:
    """A worker with an outbox of its own for each input."""

    large = False

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def run(self, answer: Callable[[Message], list[Message]], *, drain: bool) -> None:
        """Run a worker until it has drained; ``drain`` asks for that before it starts."""
        outbox, clock = Outbox(self.folder), FakeTime()
        log: LeveledLogger = _Silent()
        self.worker = FleetWorker(
            FakeBus(clock, answer), InstantExecutor(), outbox, name="north", capacity=2,
            topics=TOPICS, log=log, id="i1",
        )  # fmt: skip
        try:
            # The worker's time alone: the event loop has the real one.
            machine = Machine(monotonic_ns=lambda: int(clock.now_s * 1e9))
            with machine_clock.replaced(machine):
                if drain:
                    self.worker.drain(60)
                self._loop.run_until_complete(self.worker.run())
        finally:
            # The folder is locked as long as it is open.
            outbox.close()

    def reports(self, message: Message) -> Reports | None:
        if message.topic != TOPICS.worker("north", "reports"):
            return None
        return wire.decode(Reports, message.payload)


def _response(body: wire.Payload) -> Message:
    return Message(topic=TOPICS.worker("north", "rsp"), payload=wire.encode(body))


def _lease(run_id: str) -> Lease:
    return Lease(run_id=run_id, attempt=1, token="token-000001")


def _assigned(run_id: str) -> dict[str, Any]:
    return {
        "lease": json.loads(wire.encode(_lease(run_id))), "lease_s": 10.0,
        "payload_limit": 1_000_000, "order_id": "o", "plan_id": "p", "plan": plan(),
        "input": {"data": {}}, "options": {"timeout_s": 1.0},
    }  # fmt: skip


class WorkerMessages(_Messages, _WorkerTarget):
    """Messages to a worker, after which an honest control plane gives it a run."""

    name = "worker"

    def seeds(self) -> Sequence[Parts]:
        rsp, cmd = TOPICS.worker("north", "rsp"), TOPICS.worker("north", "cmd")
        attempt = {"run_id": "r1", "attempt": 1}
        parts = [
            _part(rsp, {"type": "runs", "claim_id": "@claim", "runs": [_assigned("r1")]}),
            _part(rsp, {"type": "starts", "started": [attempt], "refused": []}),
            _part(rsp, {"type": "acks", "number": 1, "acks": [{**attempt, "upto": 1}]}),
            _part(rsp, {"type": "acks", "number": 2, "acks": [{**attempt, "upto": 0,
                        "refused": "late", "set_aside": True}], "refused": ""}),
            _part(cmd, {"cancel": [attempt], "abandon": [attempt]}),
            _part(TOPICS.control, {"incarnation": "c1", "online": True}),
        ]  # fmt: skip
        return [tuple(parts), tuple(reversed(parts))]

    def execute(self, data: bytes) -> None:
        self.clear()
        hostile = deque(_messages(data)[:MAX_MESSAGES])
        assigned, done = False, False

        def answer(message: Message) -> list[Message]:
            nonlocal assigned, done
            answers = []
            if message.topic == TOPICS.worker("north", "claim"):
                claim = wire.decode(Claim, message.payload)
                if hostile:
                    return [_with_claim(hostile.popleft(), claim.claim_id)]
                if claim.demand and not assigned:
                    assigned = True
                    body = {"type": "runs", "claim_id": claim.claim_id, "runs": [_assigned("h")]}
                    answers.append(Message(topic=TOPICS.worker("north", "rsp"),
                                           payload=json.dumps(body).encode()))  # fmt: skip
            elif message.topic == TOPICS.worker("north", "start"):
                request = wire.decode(StartRequest, message.payload)
                attempts = [_attempt(lease) for lease in request.leases]
                answers.append(_response(Starts(started=attempts)))
            elif reports := self.reports(message):
                answers += [hostile.popleft()] if hostile else []
                acks = [_ack(report) for report in reports.runs]
                answers.append(_response(Acks(number=reports.number, acks=acks)))
                ended = any(b"run:complete" in bytes(raw) for report in reports.runs
                            if report.lease.run_id == "h" for raw in report.events)  # fmt: skip
                if ended and not done:
                    done = True
                    self.worker.drain(60)
            return answers

        self.run(answer, drain=False)
        if list(self.folder.glob("*.jsonl")):
            raise Fault("reports remain")


def _attempt(lease: Lease) -> Attempt:
    return Attempt(run_id=lease.run_id, attempt=lease.attempt)


def _with_claim(message: Message, claim_id: str) -> Message:
    payload = message.payload.replace(b"@claim", claim_id.encode())
    return Message(topic=message.topic, payload=payload)


def _ack(report: RunReport) -> Ack:
    last = json.loads(bytes(report.events[-1]))["seq"]
    return Ack(run_id=report.lease.run_id, attempt=report.lease.attempt, upto=last)


class Outboxes(_WorkerTarget):
    """What an earlier process left of one run, beside the whole outbox of another run."""

    name = "outbox"

    def __init__(self) -> None:
        super().__init__()
        self._inputs = 0
        self._start()

    def _start(self) -> None:
        self._store = Store("sqlite://")
        self._store.migrate()
        self._harness = ControlPlaneHarness(self._store)

    def close(self) -> None:
        self._store.close()
        super().close()

    def seeds(self) -> Sequence[Parts]:
        types = ("run:start", "step:start", "run:log", "step:complete", "run:complete")
        events = [event("@run", number, type) for number, type in enumerate(types)]
        events[3] |= {"output_dataclip": {"data": {"a": [1, {"b": 2}]}}, "output_dataclip_id": "c1"}
        events[4] |= {"final_state": {"data": {}}, "final_dataclip_id": "c1"}
        lease = {"run_id": "@run", "attempt": 1, "token": "@token"}
        return [
            tuple(map(from_data, (lease, *events))),
            tuple(map(from_data, (lease, *events[:3]))),
        ]

    def encode(self, parts: Parts) -> bytes:
        return b"".join(_payload(part) + b"\n" for part in parts)

    def execute(self, data: bytes) -> None:
        self._inputs += 1
        if self._inputs % RENEWED_AFTER == 0:
            self._store.close()
            self._start()
        self.clear()
        harness = self._harness
        _, left = harness.started(f"left{self._inputs}")
        _, whole = harness.started(f"whole{self._inputs}")
        ours = data.replace(b"@run", left.run_id.encode()).replace(b"@token", left.token.encode())
        # The whole one is read second, and must not wait for the first.
        (self.folder / "a.1.jsonl").write_bytes(ours)
        end = json.dumps(event(whole.run_id, 1, "run:complete")).encode()
        (self.folder / "b.1.jsonl").write_bytes(wire.encode(whole) + b"\n" + end + b"\n")
        self.run(self._answer, drain=True)
        if harness.run(whole.run_id)["status"] != "success":
            raise Fault("a report that is refused blocks another")
        if list(self.folder.glob("*.jsonl")):
            raise Fault("reports remain")
        self._check_left(left)

    def _check_left(self, left: Lease) -> None:
        events = self._harness.call("events", run_id=left.run_id)["events"]
        ends = [each for each in events if each["type"] == "run:complete"]
        status = self._harness.run(left.run_id)["status"]
        if len(ends) > 1 or (len(ends) == 1) is not (status not in ("running", "pending")):
            raise Fault("a run without exactly one end")

    def _answer(self, message: Message) -> list[Message]:
        harness = self._harness
        harness.now += 1
        outgoing = harness.processor.process([message], harness.now)
        decode_outgoing(outgoing)
        prefix = TOPICS.worker("north", "")
        return [each for each in outgoing.messages if each.topic.startswith(prefix)]
