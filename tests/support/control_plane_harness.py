"""A test harness for the message processor: its clock, fake workers and a client.

The ``harness`` fixture checks the invariants after each test (see :func:`violations`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select

from worker.core.status import STATUSES, Status
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.store import tables
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import MessageRefused, Outgoing, Settings
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.client_messages import Failure, Reply
from worker.fleet.messaging.state_messages import Alert, OrderState, RunEvents, RunState
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import (
    PROTOCOL,
    Ack,
    Acks,
    AssignedRun,
    Assignment,
    Attempt,
    Command,
    Fetched,
    Lease,
    Response,
    Starts,
)
from worker.workflow.load import load

SECOND = 1_000_000
BEGAN = 1_800_000_000 * SECOND
TOPICS = Topics()
ME = TOPICS.client("me")
FINAL = {status.value for status, row in STATUSES.items() if row.final}
ALARMING = {"exception", "lost"}


def plan(name: str = "flow") -> dict[str, Any]:
    """An execution plan of two steps."""
    steps = [
        {"id": "a", "expression": "fn(s => s)", "next": {"b": True}},
        {"id": "b", "expression": "fn(s => s)"},
    ]
    return {"workflow": {"name": name, "steps": steps}}


def _registry() -> WorkflowRegistry:
    registry = WorkflowRegistry()
    for name in ("flow", "other"):
        registry.add(load(plan(name)))
    return registry


REGISTRY = _registry()


# --- published messages ---------------------------------------------------------------------------


@dataclass(slots=True)
class Published:
    """The published messages of a batch, decoded and sorted by kind."""

    replies: list[Reply] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    starts: list[Starts] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    fetched: list[Fetched] = field(default_factory=list)
    stored: list[wire.ChunkStored] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    states: list[RunState] = field(default_factory=list)
    orders: list[OrderState] = field(default_factory=list)
    events: list[RunEvents] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    refusals: list[MessageRefused] = field(default_factory=list)
    ended: Counter[Status] = field(default_factory=Counter)
    cleared: list[str] = field(default_factory=list)
    """The topics whose retained messages were deleted."""
    postponed: list[Message] = field(default_factory=list)
    """The queries that wait for the next batch."""

    @property
    def kinds(self) -> list[str]:
        """The kinds of the refusals."""
        return [refusal.kind for refusal in self.refusals]

    @property
    def statuses(self) -> list[str]:
        """The statuses that were announced, in order."""
        return [state.status for state in self.states]

    def take_response(self, response: Response) -> None:
        match response:
            case Assignment():
                self.assignments.append(response)
            case Starts():
                self.starts.append(
                    Starts(
                        started=without_tokens(response.started),
                        refused=without_tokens(response.refused),
                    )
                )
            case Fetched():
                self.fetched.append(response)
            case wire.ChunkStored():
                self.stored.append(response)
            case wire.MissingContent():
                self.missing += response.hashes
            case Acks():
                self.acks += response.acks

    def take(self, message: Message) -> None:
        match message.topic.removeprefix(f"{TOPICS.base}/").split("/"):
            case levels if message.retain and not message.payload:
                self.cleared.append("/".join(levels))
            case ["clients", _, "rsp"]:
                self.replies.append(wire.decode(Reply, message.payload))
            case ["workers", _, "rsp"]:
                self.take_response(wire.decode(Response, message.payload))  # type: ignore[arg-type]
            case ["workers", _, "cmd"]:
                command = wire.decode(Command, message.payload)
                self.commands.append(
                    msgspec.structs.replace(
                        command,
                        cancel=without_tokens(command.cancel),
                        abandon=without_tokens(command.abandon),
                    )
                )
            case ["runs", _, "state"]:
                assert message.retain
                self.states.append(wire.decode(RunState, message.payload))
            case ["runs", _, "events"]:
                self.events.append(wire.decode(RunEvents, message.payload))
            case ["orders", _, "state"]:
                assert message.retain
                self.orders.append(wire.decode(OrderState, message.payload))
            case _:
                raise AssertionError(f"published on an unknown topic: {message.topic}")


def without_tokens(attempts: list[Attempt]) -> list[Attempt]:
    """Leave the tokens out, which a test does not know; the conformance cases check them."""
    return [msgspec.structs.replace(attempt, token="") for attempt in attempts]


def decode_outgoing(outgoing: Outgoing) -> Published:
    published = Published(
        alerts=outgoing.alerts,
        refusals=outgoing.refusals,
        ended=outgoing.ended,
        postponed=outgoing.postponed,
    )
    for message in outgoing.messages:
        published.take(message)
    return published


def to(topic: str, payload: bytes | dict[str, Any], **fields: Any) -> Message:
    body = payload if isinstance(payload, bytes) else wire.encode(payload)
    return Message(topic=topic, payload=body, **fields)


def request(method: str, **fields: Any) -> Message:
    """Return a client's request."""
    return to(TOPICS.request(method), fields, reply_to=ME)


def submission(order_id: str, **fields: Any) -> Message:
    """Return a client's order, for the workflow 'flow' unless it has a plan or names another."""
    if "plan" not in fields:
        fields.setdefault("workflow", "flow")
    return request("submit", order_id=order_id, **fields)


def event(run_id: str, seq: int, type: str = "run:log", **fields: Any) -> dict[str, Any]:
    """Return an event of a run, with its required fields."""
    needed: dict[str, dict[str, Any]] = {
        "run:start": {"workflow": "flow", "versions": {}},
        "step:start": {
            "step_id": "s1", "job_id": "a", "job_name": "a", "execution": 0,
            "input_dataclip_id": "clip-0",
        },
        "run:log": {"source": "JOB", "level": "info", "message": "m"},
        "step:complete": {"step_id": "s1", "job_id": "a", "reason": "success"},
        "run:complete": {"reason": "success"},
    }  # fmt: skip
    known = {"type": type, "run_id": run_id, "seq": seq, "timestamp": BEGAN}
    return {**known, **needed.get(type, {}), **fields}


# --- clients and workers --------------------------------------------------------------------------


class ControlPlaneHarness:
    """A processor on a store, with a clock that the test sets."""

    def __init__(self, store: Store, *, connect: bool = True, **options: Any) -> None:
        self.store = store
        self.now = BEGAN
        self.options = options
        self.numbers = count(1)
        self.plans: dict[str, msgspec.Raw] = {}
        self.start()
        if connect:
            self.connect()
            self.pass_time(60)

    def start(self) -> None:
        """Start a processor, as a process that knows the content of the store alone."""
        options: dict[str, Any] = {"settings": Settings(), "registry": REGISTRY, **self.options}
        self.processor = MessageProcessor(self.store, topics=TOPICS, token=self._token, **options)

    def restart(self, **options: Any) -> Published:
        """Start again, as after a crash, with other options. Return what connecting published."""
        self.options |= options
        self.start()
        return self.connect()

    def _token(self) -> str:
        return f"token-{next(self.numbers):06}"

    # --- time ---

    def connect(self) -> Published:
        return decode_outgoing(self.processor.on_connected(self.now))

    def disconnect(self) -> None:
        self.processor.on_disconnected()

    def pass_time(self, seconds: float) -> None:
        """Advance the clock without a tick."""
        self.now += int(seconds * SECOND)

    def tick(self) -> Published:
        return self._published(self.processor.tick(self.now))

    def _published(self, outgoing: Outgoing) -> Published:
        published = decode_outgoing(outgoing)
        # A plan comes once, with whichever assignment is the first.
        runs = (run for assignment in published.assignments for run in assignment.runs)
        self.plans |= {run.plan_id: run.plan for run in runs if bytes(run.plan) != b"null"}
        return published

    def wait(self, seconds: float) -> Published:
        """Advance the clock with ticks in between. Return everything that they published."""
        whole = Published()
        end = self.now + int(seconds * SECOND)
        while self.now < end:
            self.now = min(end, self.now + SECOND * 9 // 10)
            published = self.tick()
            for name in Published.__dataclass_fields__:
                setattr(whole, name, getattr(whole, name) + getattr(published, name))
        return whole

    # --- clients ---

    def send(self, *messages: Message) -> Published:
        """Process messages in one batch, a microsecond after the last one."""
        self.now += 1
        return self._published(self.processor.process(messages, self.now))

    def call(self, method: str, **fields: Any) -> Any:
        """Return the result of a request."""
        published = self.send(request(method, **fields))
        (reply,) = published.replies
        assert reply.error is None, reply.error
        assert not published.refusals
        return msgspec.json.decode(bytes(reply.ok))

    def failure(self, method: str, **fields: Any) -> Failure:
        """Return the failure of a request."""
        (reply,) = self.send(request(method, **fields)).replies
        assert reply.error is not None
        return reply.error

    def submit(self, order_id: str = "o", **fields: Any) -> str:
        """Submit an order that is accepted. Return the id of its run."""
        (reply,) = self.send(submission(order_id, **fields)).replies
        assert reply.error is None, reply.error
        order = msgspec.json.decode(bytes(reply.ok))
        assert order["status"] == "pending", order
        return str(order["run"]["run_id"])

    def run(self, id: str = "o") -> dict[str, Any]:
        """Return a run, by its id or its order's."""
        run: dict[str, Any] = self.call("run", id=id)
        return run

    def status(self, id: str = "o") -> str:
        """Return the status of a run, by its id or its order's."""
        return str(self.run(id)["status"])

    def order(self, order_id: str = "o") -> dict[str, Any]:
        order: dict[str, Any] = self.call("order", order_id=order_id)
        return order

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        with self.store.read() as connection:
            return dump(connection)

    # --- shorthands ---

    def claimed(self, order_id: str = "o", **fields: Any) -> tuple[FakeWorker, Lease]:
        """Submit an order whose run a worker claims."""
        self.submit(order_id, **fields)
        worker = FakeWorker(self)
        (assigned,) = worker.claim()
        return worker, assigned.lease

    def started(self, order_id: str = "o", **fields: Any) -> tuple[FakeWorker, Lease]:
        """Submit an order whose run a worker starts."""
        worker, lease = self.claimed(order_id, **fields)
        assert worker.start(lease).upto == 0
        return worker, lease

    def ended(self, order_id: str = "o", reason: str = "success") -> tuple[FakeWorker, Lease]:
        """Submit an order whose run ends."""
        worker, lease = self.started(order_id)
        assert worker.finish(lease, 1, reason).upto == 1
        return worker, lease


class FakeWorker:
    """A worker whose messages the test sends."""

    def __init__(
        self, harness: ControlPlaneHarness, name: str = "north", incarnation: str = "i1"
    ) -> None:
        self._bench = harness
        self.name = name
        self.incarnation = incarnation
        self._demands: dict[str, int] = {}

    def message(self, channel: str, **fields: Any) -> Message:
        if channel == "claim":
            fields.setdefault("protocol", PROTOCOL)
        return to(TOPICS.worker(self.name, channel), fields)

    def send(self, channel: str, **fields: Any) -> Published:
        return self._bench.send(self.message(channel, **fields))

    def birth(self, **fields: Any) -> Published:
        return self.send("status", incarnation=self.incarnation, online=True, **fields)

    def will(self) -> Published:
        return self.send("status", incarnation=self.incarnation, online=False)

    def claim(self, demand: int = 1, claim_id: str = "") -> list[AssignedRun]:
        """Claim runs. Return those that are assigned at once."""
        id = claim_id or f"claim-{next(self._bench.numbers)}"
        # A worker repeats a claim as it is, or raises it.
        repeated = self._demands.get(id) == demand
        self._demands[id] = demand
        published = self.send(
            "claim", claim_id=id, demand=demand, incarnation=self.incarnation, repeated=repeated
        )
        assert not published.refusals
        runs = [run for assignment in published.assignments for run in assignment.runs]
        return [msgspec.structs.replace(run, plan=self._bench.plans[run.plan_id]) for run in runs]

    def request_start(self, *leases: Lease) -> Published:
        """Request to execute claimed runs."""
        return self._bench.send(self.start_request(*leases))

    def start_request(self, *leases: Lease) -> Message:
        return self.message("start", incarnation=self.incarnation, leases=list(leases))

    def reports(self, lease: Lease, *events: dict[str, Any]) -> Message:
        return self.message("reports", number=1, runs=[{"lease": lease, "events": list(events)}])

    def report(self, lease: Lease, *events: dict[str, Any]) -> Published:
        return self._bench.send(self.reports(lease, *events))

    def acked(self, lease: Lease, *events: dict[str, Any]) -> Ack:
        (ack,) = self.report(lease, *events).acks
        return ack

    def start(self, lease: Lease) -> Ack:
        return self.acked(lease, event(lease.run_id, 0, "run:start"))

    def finish(self, lease: Lease, seq: int = 1, reason: str = "success") -> Ack:
        return self.acked(lease, event(lease.run_id, seq, "run:complete", reason=reason))

    def heartbeat(self, *leases: Lease) -> Published:
        return self.send("beat", incarnation=self.incarnation, leases=list(leases))

    def release(self, *leases: Lease) -> Published:
        return self.send("release", incarnation=self.incarnation, leases=list(leases))


# --- invariants -----------------------------------------------------------------------------------


def rows(connection: Connection, table: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table)).mappings()]


def dump(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, sorted."""
    return {
        table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
        for table in tables.METADATA.sorted_tables
    }


def violations(connection: Connection) -> Iterator[str]:
    """Yield the broken invariants of a database of orders and runs."""
    runs = rows(connection, tables.RUNS)
    yield from _queues(runs, rows(connection, tables.QUEUES))
    yield from _orders(runs, rows(connection, tables.ORDERS))
    for run in runs:
        yield from _run(run)
    alerts = Counter(row["run_id"] for row in rows(connection, tables.ALERTS))
    if alerts != Counter(run["id"] for run in runs if run["status"] in ALARMING):
        yield f"there are other alerts than runs that need one: {alerts}"
    yield from _events(runs, rows(connection, tables.EVENTS))


def _queues(runs: Sequence[dict[str, Any]], queues: Sequence[dict[str, Any]]) -> Iterator[str]:
    known = {(queue["project"], queue["priority"]) for queue in queues}
    for run in runs:
        if run["phase"] == "available" and (run["project"], run["priority"]) not in known:
            yield f"run {run['id']} waits, and its queue is unknown"


def _orders(runs: Sequence[dict[str, Any]], orders: Sequence[dict[str, Any]]) -> Iterator[str]:
    of_order: dict[str, list[dict[str, Any]]] = {order["id"]: [] for order in orders}
    for run in runs:
        if run["order_id"] not in of_order:
            yield f"run {run['id']} has no order"
        else:
            of_order[run["order_id"]].append(run)
    for order in orders:
        mine = sorted(of_order[order["id"]], key=lambda run: int(run["number"]))
        name = f"order {order['id']}"
        if [run["number"] for run in mine] != list(range(1, order["runs"] + 1)):
            yield f"{name} counts {order['runs']} runs, and has {len(mine)}"
        if order["last_run"] != (mine[-1]["id"] if mine else None):
            yield f"{name} names another run than its last: {order['last_run']}"
        if order["status"] != (mine[-1]["status"] if mine else "rejected"):
            yield f"{name} is {order['status']}, and its last run is not"
        if any(run["phase"] != "final" for run in mine[:-1]):
            yield f"{name} has a run under way that is not its last"


def _run(run: dict[str, Any]) -> Iterator[str]:
    name, phase = f"run {run['id']}", run["phase"]
    if (phase == "final") is not (run["status"] in FINAL):
        yield f"{name} is {phase} and {run['status']}"
    if (phase == "final") is not (run["finished"] is not None):
        yield f"{name} is {phase} and finished at {run['finished']}"
    if (phase == "started") is not (run["status"] == "running"):
        yield f"{name} is {phase} and {run['status']}"
    if phase == "started" and run["started"] is None:
        yield f"{name} has started at no time"
    leased = phase in ("claimed", "started")
    for column in ("worker", "token", "claim_id", "incarnation"):
        if leased and run[column] is None:
            yield f"{name} is leased, and has no {column}"
        if phase == "available" and run[column] is not None:
            yield f"{name} waits, and has a {column}"
    if phase in ("available", "claimed") and run["reported"] != -1:
        yield f"{name} has not started, and has reported"


def _events(runs: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> Iterator[str]:
    by_attempt: dict[tuple[str, int], list[int]] = {}
    for row in events:
        by_attempt.setdefault((row["run_id"], row["attempt"]), []).append(row["seq"])
    for run in runs:
        seqs = sorted(by_attempt.pop((run["id"], run["attempt"]), []))
        # Those of an order that has ended may be erased, all of them.
        erased = run["phase"] == "final" and not seqs
        if seqs != list(range(run["reported"] + 1)) and not erased:
            yield f"run {run['id']} has reported up to {run['reported']}, and stored are {seqs}"
    if by_attempt:
        yield f"events of no attempt that started: {by_attempt}"


@pytest.fixture
def harness(store: Store) -> Iterator[ControlPlaneHarness]:
    """Provide a harness on a database of each kind; check its invariants after the test."""
    harness = ControlPlaneHarness(store)
    yield harness
    with store.read() as connection:
        assert list(violations(connection)) == []
