"""Unit of work for one batch of messages: collects row changes and the messages to publish.

Messages are published after the commit, so nobody learns of a change that is rolled back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from worker.core.status import STATUSES, Status
from worker.fleet.control import lifecycle, views
from worker.fleet.control.entities import RunRecord, WorkOrder
from worker.fleet.control.inline_secrets import InlineSecrets
from worker.fleet.control.lifecycle import LifecycleEvent
from worker.fleet.control.policy import Policy
from worker.fleet.control.query_budget import QueryBudget
from worker.fleet.control.run_content_cache import RunContentCache
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.workflow_registry import RegisteredWorkflow, VersionCache
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.content import MAX_MESSAGE_BYTES
from worker.fleet.messaging.state_messages import Alert
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import Starts

ALERTING = (Status.EXCEPTION, Status.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a control plane.

    ``lease_s``: how long a lease lasts without a heartbeat. ``disconnect_grace_s``: how long a
    worker has to come back after its connection broke. ``retain_s``: how long ended orders are
    stored, 0 for ever. ``max_payload_bytes``: the largest order and the largest event.
    ``max_message_bytes``: the largest message that is published. ``lost_retries``: how often an
    order of an idempotent workflow gets a new run after a lost one. ``state_expiry_s``: how long
    the broker retains the state of a final run. ``shared``: other control planes use the store too.
    """

    lease_s: float = 10.0
    # With a tick, a worker that was killed is noticed within two seconds.
    disconnect_grace_s: float = 1.7
    retain_s: float = 0.0
    max_payload_bytes: int = 32 * 1024 * 1024
    max_message_bytes: int = MAX_MESSAGE_BYTES
    lost_retries: int = 3
    state_expiry_s: int = 86_400
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingClaim:
    """A claim that waits for runs."""

    claim_id: str
    demand: int
    incarnation: str


@dataclass(slots=True)
class Outgoing:
    """The results of a batch, for use after the commit.

    ``ended`` counts final statuses; ``expired`` are runs as they were when their lease expired.
    ``delivered`` are the channels over which an alert has been delivered already, by its run.
    ``defects`` are parts of the work that failed, by their names, each with its error.
    ``triggered`` counts what became of messages, ticks and calls; ``tick_delays_s`` are the times
    from ticks to their orders; ``deployed``: triggers changed.
    ``echo_us`` is the time of an echo to request, 0 for none; ``awaits_echo``: work waits for it.
    ``postponed`` are queries to handle with the next batch.
    ``when_committed`` are changes in memory that belong to a tick or a connection: made when all
    is committed.
    """

    messages: list[Message] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    refusals: list[MessageRefused] = field(default_factory=list)
    ended: Counter[Status] = field(default_factory=Counter)
    expired: list[RunRecord] = field(default_factory=list)
    delivered: dict[str, frozenset[str]] = field(default_factory=dict)
    start_latencies_s: list[float] = field(default_factory=list)
    durations_s: list[float] = field(default_factory=list)
    handed_back: int = 0
    defects: dict[str, str] = field(default_factory=dict)
    triggered: Counter[str] = field(default_factory=Counter)
    tick_delays_s: list[float] = field(default_factory=list)
    deployed: bool = False
    echo_us: int = 0
    awaits_echo: bool = False
    postponed: list[Message] = field(default_factory=list)
    when_committed: list[Callable[[], None]] = field(default_factory=list)

    def extend(self, other: Outgoing) -> None:
        self.messages += other.messages
        self.alerts += other.alerts
        self.refusals += other.refusals
        self.ended += other.ended
        self.expired += other.expired
        self.delivered |= other.delivered
        self.start_latencies_s += other.start_latencies_s
        self.durations_s += other.durations_s
        self.handed_back += other.handed_back
        self.defects |= other.defects
        self.triggered += other.triggered
        self.tick_delays_s += other.tick_delays_s
        self.deployed |= other.deployed
        self.echo_us = max(self.echo_us, other.echo_us)
        self.awaits_echo |= other.awaits_echo
        self.postponed += other.postponed
        self.when_committed += other.when_committed


class MessageRefused(Exception):
    """A message that is refused, and changes nothing.

    ``kind``: malformed, oversized, forged, unknown, reply_topic, stale, busy, taken, outdated,
    defect; of an order without a response topic also the code of its failure: invalid, conflict.
    """

    def __init__(self, kind: str, message: str, topic: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.topic = kind, message, topic


class RequestError(Exception):
    """A request that is refused. ``code`` as in :class:`messages.Failure`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class UnitOfWork:
    """One transaction, its time, and the messages to publish after it.

    ``topic`` is the topic of the message that is being handled. ``request_id`` is the same for all
    transmissions of one request, and empty where that is not known. ``client`` is who sent it, and
    ``reply_to`` the topic of its reply. ``ended`` are the runs that ended in this transaction.
    ``queries`` is the budget of its queries.
    ``answered`` are the claims that were answered again, with their workers.
    ``missing`` are the hashes of contents that the message refers to and that are not stored.
    ``starts`` are the responses to requests to start runs, by the names of workers.
    ``deployed`` caches the present versions of deployed workflows, by project and name;
    ``versions`` those of earlier transactions too, by their ids.
    ``contacts`` are the incarnations that were heard of, and when that was written last, by the
    names of workers. ``is_retained``: the message that is being handled was published earlier.
    """

    def __init__(
        self,
        transaction: Transaction,
        now_us: int,
        topics: Topics,
        settings: Settings,
        pending_claims: dict[str, PendingClaim],
        secrets: InlineSecrets,
        run_contents: RunContentCache,
        contacts: dict[str, tuple[str, int]],
        policy: Policy = Policy(),
        versions: VersionCache | None = None,
    ) -> None:
        self.transaction = transaction
        self.now_us = now_us
        self.topics = topics
        self.settings = settings
        self.pending_claims = pending_claims
        self.secrets = secrets
        self.run_contents = run_contents
        self.policy = policy
        self.contacts = contacts
        self.versions = versions or VersionCache()
        self.is_retained = False
        self.outgoing = Outgoing()
        self.ended: list[RunRecord] = []
        self.answered: set[tuple[str, str]] = set()
        self.topic = ""
        self.request_id = ""
        self.client = ""
        self.deployed: dict[tuple[str, str], RegisteredWorkflow | None] = {}
        self.reply_to = ""
        self.missing: list[str] = []
        self.starts: dict[str, Starts] = {}
        self.queries = QueryBudget()
        self._timestamps = 0

    @property
    def lease_us(self) -> int:
        return int(self.settings.lease_s * 1e6)

    @property
    def lease_end(self) -> int:
        return self.now_us + self.lease_us

    def next_timestamp(self) -> int:
        """Return a time close to now, later than that of the call before: it orders runs."""
        self._timestamps += 1
        return self.now_us + self._timestamps

    def publish(
        self,
        topic: str,
        payload: wire.Payload,
        *,
        bulk: bool = False,
    ) -> None:
        """Publish a message after the commit."""
        message = Message(topic=topic, payload=wire.encode(payload), bulk=bulk)
        self.outgoing.messages.append(message)

    def clear_retained(self, topic: str) -> None:
        """Let the broker delete what it retains on a topic, after the commit."""
        self.outgoing.messages.append(Message(topic=topic, payload=b"", retain=True))

    def reply(self, topic: str, correlation: bytes, content: Any) -> None:
        """Send a reply after the commit, with the correlation data of the message."""
        message = Message(topic=topic, payload=wire.encode(content), correlation=correlation)
        self.outgoing.messages.append(message)

    def refuse(self, refusal: MessageRefused) -> None:
        """Record a refusal of the message that is being handled."""
        refusal.topic = self.topic
        self.outgoing.refusals.append(refusal)

    # --- runs and orders --------------------------------------------------------------------------

    def stores_outputs(self, project: str) -> bool:
        """Return whether the outputs of a project's steps are stored."""
        limits = self.policy.of(project)
        return limits.output_dataclips and limits.keep_data != "none"

    def add_run(self, run: RunRecord) -> None:
        """Store a new run and publish its state."""
        self.transaction.put_run(run)
        self._status_changed(run)

    def apply(self, run: RunRecord, event: LifecycleEvent) -> RunRecord:
        """Apply an event to a run; store and return the result. Publish a changed status."""
        applied = lifecycle.apply(run, event)
        if applied.status is run.status:
            self.transaction.put_run(applied)
            return applied
        applied = replace(applied, changed=self.now_us, revision=run.revision + 1)
        self.transaction.put_run(applied)
        self._status_changed(applied)
        return applied

    def _status_changed(self, run: RunRecord) -> None:
        self.publish_run_state(run)
        order = self.transaction.order(run.order_id)
        if order is not None and order.last_run == run.id:
            late = run.status is Status.REJECTED
            reason = run.error_message if late else order.reason
            order = replace(order, status=run.status, reason=reason, revision=order.revision + 1)
            self.transaction.put_order(order)
            self.publish_order_state(order)
        if run.status is Status.RUNNING:
            waited_us = self.now_us - max(run.created, run.not_before)
            self.outgoing.start_latencies_s.append(waited_us / 1e6)
        if run.final and run.started is not None and run.finished is not None:
            self.outgoing.durations_s.append((run.finished - run.started) / 1e6)
        if run.final:
            self.outgoing.ended[run.status] += 1
            self.ended.append(run)
        if run.status in ALERTING:
            self.transaction.add("alerts", {"run_id": run.id, "at": self.now_us, "notified": None})
            self.alert(run)

    def publish_run_state(self, run: RunRecord) -> None:
        """Publish the retained state of a run."""
        topic = self.topics.run(run.id, "state")
        self._publish_state(topic, views.run_state(run), final=run.final)

    def publish_order_state(self, order: WorkOrder) -> None:
        """Publish the retained state of an order."""
        topic = self.topics.order(order.id)
        self._publish_state(topic, views.order_state(order), final=STATUSES[order.status].final)

    def _publish_state(self, topic: str, state: wire.Payload, *, final: bool) -> None:
        message = Message(
            topic=topic,
            payload=wire.encode(state),
            retain=True,
            # Final states expire at the broker: it would collect them for ever.
            expiry_s=self.settings.state_expiry_s if final else 0,
            # Held for a while by one of several control planes, it could follow a newer state of
            # another one, and the broker would retain it.
            provisional=not (final or self.settings.shared),
        )
        self.outgoing.messages.append(message)

    def alert(self, run: RunRecord) -> None:
        """Send an alert for a run after the commit."""
        self.outgoing.alerts.append(views.alert(run))
