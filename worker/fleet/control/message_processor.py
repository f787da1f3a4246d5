"""Processing of messages: each batch is one transaction, whose results are published afterwards.

A message that is refused changes nothing. Pending claims of workers are held in memory alone,
because workers repeat them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from worker.core.status import STATUSES, Status
from worker.fleet.control import run_content, worker_messages
from worker.fleet.control.automatic_retries import retry_automatically
from worker.fleet.control.claiming import RunSelector
from worker.fleet.control.client_requests import RequestHandler
from worker.fleet.control.due_runs import queue_due_runs, reject_late_runs
from worker.fleet.control.entities import RunPhase, RunRecord
from worker.fleet.control.erasure import forget_by_policy
from worker.fleet.control.inbound import (
    InboundMessage,
    MessageParser,
    order_ids_of,
    run_ids_of,
)
from worker.fleet.control.inline_secrets import InlineSecrets
from worker.fleet.control.lifecycle import Claimed, Expired
from worker.fleet.control.placement import FreeSlots, Offer, decode_words
from worker.fleet.control.plane_metrics import Survey, take_survey
from worker.fleet.control.policy import Policy
from worker.fleet.control.retained_check import Place
from worker.fleet.control.retention import delete_ended_orders, delete_old_actions
from worker.fleet.control.run_content_cache import RunContentCache
from worker.fleet.control.store.store import Store, StoreUnavailable, retry_on_conflict
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.triggers.cron import CronFiring, delete_old_ticks, fire_due
from worker.fleet.control.triggers.dead_letters import DeadLetter, delete_old_dead_letters
from worker.fleet.control.triggers.deploying import DeploymentRules, check_registry
from worker.fleet.control.triggers.firing import Fired, Firing, delete_expired_keys, fire
from worker.fleet.control.triggers.results import mark_replied
from worker.fleet.control.unique_orders import release_key
from worker.fleet.control.unit_of_work import (
    MessageRefused,
    Outgoing,
    PendingClaim,
    RequestError,
    Settings,
    UnitOfWork,
)
from worker.fleet.control.uploads import forget_chunks
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.content import chunks_of
from worker.fleet.messaging.topics import Topics
from worker.util.machine_clock import random_hex

_WORKER_HANDLERS: dict[str, Callable[[UnitOfWork, str, Any], None]] = {
    "status": worker_messages.presence,
    "claim": worker_messages.claim,
    "start": worker_messages.start,
    "reports": worker_messages.reports,
    "beat": worker_messages.heartbeat,
    "release": worker_messages.release,
    "fetch": worker_messages.fetch,
    "chunk": worker_messages.chunk,
}
T = TypeVar("T")
RETENTION_INTERVAL_US = 60_000_000
CHECKPOINT_INTERVAL_US = 2_000_000
LATE_TICK_US = 1_000_000
"""A tick that comes this late means that this process itself was suspended."""
KNOWN_WORKER_US = 86_400_000_000
"""How long a worker that is away is waited for, by runs that need what it alone offers."""
_CHECKPOINT = "sure"
REPEATABLE = frozenset(Status) - {Status.SUCCESS, Status.CANCELLED, Status.REJECTED}
"""The statuses whose runs a retry policy can repeat."""


class MessageProcessor:
    """Applies the rules of the control plane to messages. Not safe for several threads at once."""

    def __init__(
        self,
        store: Store,
        *,
        topics: Topics = Topics(),
        settings: Settings = Settings(),
        policy: Policy | None = None,
        registry: WorkflowRegistry | None = None,
        secrets_at_rest: InlineSecrets | None = None,
        token: Callable[[], str] = lambda: random_hex(16),
        rules: DeploymentRules = DeploymentRules(),
    ) -> None:
        self._store = store
        self._topics = topics
        self._settings = settings
        self._policy = policy or Policy()
        self._secrets = secrets_at_rest or InlineSecrets()
        self._rules = rules
        self._requests = RequestHandler(self._policy, registry or WorkflowRegistry(), rules)
        self._parser = MessageParser(topics, settings.max_payload_bytes)
        self._token = token
        self._pending_claims: dict[str, PendingClaim] = {}
        self._run_contents = RunContentCache()
        self._contacts: dict[str, tuple[str, int]] = {}
        self._connected_since_us: int | None = None
        self._last_tick_us = 0
        self._store_was_away = False
        self._leases_restart = False
        self._last_retention_us = 0
        self._last_cleaning_us = 0
        self._last_checkpoint_us = 0

    def limit_messages(self, max_bytes: int) -> None:
        """Publish no message that is larger than ``max_bytes``."""
        self._settings = replace(self._settings, max_message_bytes=max_bytes)

    def reload(self, policy: Policy, registry: WorkflowRegistry) -> None:
        """Use another policy and other workflows from now on; keep those before where that fails.

        Raises :class:`UsageError` where a workflow of files is deployed too.
        """
        with self._store.read() as connection:
            check_registry(connection, registry)
        self._policy = policy
        self._requests = RequestHandler(policy, registry, self._rules)

    # --- batches ----------------------------------------------------------------------------------

    def process(self, messages: Sequence[Message], now_us: int) -> Outgoing:
        """Handle a batch of messages in one transaction. Return what to publish.

        Raises :class:`StoreUnavailable`; the batch can be repeated then, as can all calls.
        """
        try:
            return self._in_store(lambda: self._process_batch(messages, now_us))
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(messages) == 1:
                return Outgoing(refusals=[_defect(error, messages[0].topic)])
        # One by one, so that a message that triggers a defect does not block the others.
        results = Outgoing()
        for message in messages:
            results.extend(self.process([message], now_us))
        return results

    def _process_batch(self, messages: Sequence[Message], now_us: int) -> Outgoing:
        batch = [parsed for message in messages if (parsed := self._parser.parse(message))]
        with self._store.transaction() as transaction:
            uow = self._unit_of_work(transaction, now_us)
            _prefetch(uow, batch)
            for inbound in batch:
                uow.topic, uow.is_retained = inbound.message.topic, inbound.message.retain
                try:
                    self._handle(uow, inbound)
                except MessageRefused as refusal:
                    uow.refuse(refusal)
            self._follow_up(uow)
            self._assign_runs(uow)
        return self._committed(uow)

    def tick(self, now_us: int) -> Outgoing:
        """Do what is due: expire leases, delete old orders, assign runs. Return what to publish."""
        since_last = now_us - self._last_tick_us if self._last_tick_us else 0
        late = not 0 <= since_last <= LATE_TICK_US
        self._last_tick_us = now_us
        # While this process was suspended, or the database away, heartbeats piled up unread; and a
        # clock that was set has made leases longer or shorter: they start anew.
        if (late or self._store_was_away) and self._connected_since_us is not None:
            self._connected_since_us = now_us
            self._leases_restart = True
        outgoing = self._tick_in_store(now_us, now_us - since_last)
        self._store_was_away = self._leases_restart = False
        return outgoing

    def fire(
        self, items: Sequence[Firing | DeadLetter], now_us: int
    ) -> tuple[list[Fired], Outgoing]:
        """Make the orders of a batch of messages and calls, in one transaction.

        Raises :class:`StoreUnavailable`; the batch can be repeated then.
        """
        try:
            return self._fire_batch(items, now_us)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(items) == 1:
                return self._fire_defective(items[0], error, now_us)
        # One by one: the broker sends a message again that ends this process, for ever.
        results, outgoing = list[Fired](), Outgoing()
        for item in items:
            fired, published = self.fire([item], now_us)
            results += fired
            outgoing.extend(published)
        return results, outgoing

    def _fire_defective(
        self, item: Firing | DeadLetter, error: Exception, now_us: int
    ) -> tuple[list[Fired], Outgoing]:
        """Store what triggers a defect as a dead letter."""
        refusal = _defect(error, item.topic)
        if isinstance(item, DeadLetter):
            fired = Fired(failure=refusal.kind, message=refusal.message)
            return [fired], Outgoing(refusals=[refusal])
        letter = DeadLetter(
            trigger=item.trigger,
            reason=refusal.kind,
            message=refusal.message,
            topic=item.topic,
            payload=item.payload,
        )
        results, outgoing = self.fire([letter], now_us)
        outgoing.refusals.append(refusal)
        return results, outgoing

    def _fire_batch(
        self, items: Sequence[Firing | DeadLetter], now_us: int
    ) -> tuple[list[Fired], Outgoing]:
        results: list[Fired] = []

        def in_transaction() -> Outgoing:
            with self._store.transaction() as transaction:
                uow = self._unit_of_work(transaction, now_us)
                results[:] = fire(uow, self._requests, items, self._token)
                if any(isinstance(item, Firing) for item in items):
                    self._assign_runs(uow)
            return self._committed(uow)

        outgoing = self._in_store(in_transaction)
        return results, outgoing

    def read(self, query: Callable[[Connection], T]) -> T:
        """Return the result of a query."""
        with self._store.read() as connection:
            return query(connection)

    def holds_lock(self, key: int) -> bool:
        """Return True while this control plane holds a lock of the store."""
        return self._store.holds_lock(key)

    def mark_replied(self, order_ids: Sequence[str]) -> None:
        """Record that the replies of orders were sent."""
        with self._store.transaction() as transaction:
            mark_replied(transaction.connection, order_ids)

    def _in_store(self, run_transaction: Callable[[], Outgoing]) -> Outgoing:
        try:
            return retry_on_conflict(run_transaction)
        except StoreUnavailable:
            self._store_was_away = True
            # A commit may have assigned runs to them. A repeated claim gets these runs.
            self._pending_claims.clear()
            raise

    def _tick_in_store(self, now_us: int, last_us: int) -> Outgoing:
        firing = CronFiring()
        while True:
            try:
                return self._in_store(lambda: self._tick(now_us, last_us, firing))
            except StoreUnavailable:
                raise
            except Exception as error:
                # Once more, without the trigger whose ticks trigger a defect.
                if not firing.exclude(error):
                    raise

    def _tick(self, now_us: int, last_us: int, firing: CronFiring) -> Outgoing:
        with self._store.transaction() as transaction:
            uow = self._unit_of_work(transaction, now_us)
            if self._leases_restart:
                transaction.cap_leases(uow.lease_end)
            if self._leases_restart and self._settings.shared:
                # What was committed before the pause may have been published after it, behind newer
                # states of other control planes.
                since_us = last_us - CHECKPOINT_INTERVAL_US
                self._publish_states(uow, transaction.changed_since(since_us))
            self._expire_leases(uow)
            reject_late_runs(uow)
            queue_due_runs(uow)
            self._follow_up(uow)
            self._write_checkpoint(uow)
            self._apply_retention(uow)
            fire_due(uow, self._requests, self._requests.cancel_order, self._token, firing)
            self._clean_up_triggers(uow)
            self._assign_runs(uow)
        return self._committed(uow)

    def on_connected(self, now_us: int) -> Outgoing:
        """Collect the states and alerts that may have been lost before this connection."""
        self._connected_since_us = now_us
        return self._in_store(lambda: self._collect_states(now_us))

    def _collect_states(self, now_us: int) -> Outgoing:
        with self._store.transaction() as transaction:
            uow = self._unit_of_work(transaction, now_us)
            # The clock may have been set back since: a lease must not last longer for that.
            transaction.cap_leases(uow.lease_end)
            checkpoint = transaction.meta(_CHECKPOINT)
            self._last_checkpoint_us = max(self._last_checkpoint_us, checkpoint or 0)
            if checkpoint is not None:
                self._publish_states(uow, transaction.changed_since(min(checkpoint, now_us)))
            for run, channels in transaction.unnotified():
                uow.alert(run)
                uow.outgoing.delivered[run.id] = channels
        return self._committed(uow)

    def _publish_states(self, uow: UnitOfWork, runs: Sequence[RunRecord]) -> None:
        uow.transaction.load_orders(run.order_id for run in runs)
        for run in runs:
            uow.publish_run_state(run)
            order = uow.transaction.order(run.order_id)
            if order is not None and order.last_run == run.id:
                uow.publish_order_state(order)

    def states_after(self, after: Place, now_us: int) -> tuple[Outgoing, Place | None]:
        """Collect a page of the states that a broker retains, and where the next page begins."""
        with self._store.transaction() as transaction:
            uow = self._unit_of_work(transaction, now_us)
            horizon_us = now_us - self._settings.state_expiry_s * 1_000_000
            runs = transaction.retained_runs(after, horizon_us)
            self._publish_states(uow, runs)
        return uow.outgoing, (runs[-1].changed, runs[-1].id) if runs else None

    def survey(self, now_us: int) -> Survey:
        """Count the queue and the workers."""
        with self._store.read() as connection:
            return take_survey(connection, now_us)

    def store_time_us(self) -> int:
        """Return the time of the store's clock in microseconds since the epoch."""
        return self._store.now_us()

    def on_disconnected(self) -> None:
        """Suspend the expiry of leases: heartbeats cannot arrive without a connection."""
        self._connected_since_us = None
        self._pending_claims.clear()

    def mark_delivered(self, run_id: str, channels: Iterable[str]) -> None:
        """Record the channels over which the alert of a run was delivered so far."""
        with self._store.transaction() as transaction:
            transaction.mark_delivered(run_id, channels)

    def mark_notified(self, run_ids: Sequence[str], now_us: int) -> None:
        """Record that the alerts of runs were delivered over all channels."""
        with self._store.transaction() as transaction:
            transaction.mark_notified(run_ids, now_us)

    def _unit_of_work(self, transaction: Transaction, now_us: int) -> UnitOfWork:
        # A copy of the claims: a transaction that is rolled back must not use any up.
        claims = dict(self._pending_claims)
        return UnitOfWork(
            transaction,
            now_us,
            self._topics,
            self._settings,
            claims,
            self._secrets,
            self._run_contents,
            self._contacts,
            self._policy,
        )

    def _committed(self, uow: UnitOfWork) -> Outgoing:
        self._pending_claims = uow.pending_claims
        return uow.outgoing

    # --- messages ---------------------------------------------------------------------------------

    def _handle(self, uow: UnitOfWork, inbound: InboundMessage) -> None:
        if inbound.method:
            self._handle_request(uow, inbound)
        elif inbound.refusal is not None:
            if inbound.channel == "reports":
                reason = f"{inbound.refusal.kind}: {inbound.refusal.message}"
                payload = inbound.message.payload
                worker_messages.unreadable_reports(uow, inbound.worker, payload, reason)
            raise inbound.refusal
        else:
            _WORKER_HANDLERS[inbound.channel](uow, inbound.worker, inbound.content)

    def _handle_request(self, uow: UnitOfWork, inbound: InboundMessage) -> None:
        try:
            if inbound.refusal is not None:
                raise inbound.refusal
            uow.request_id, uow.reply_to = inbound.request_id, inbound.message.reply_to
            result = self._requests.handle(uow, inbound.client, inbound.method, inbound.content)
            reply = wire.Reply(ok=msgspec.Raw(wire.encode(result)))
        except RequestError as error:
            reply = _failure(error.code, error.message)
        except MessageRefused as refusal:
            uow.refuse(refusal)
            code = {"oversized": "too_large", "unknown": "unknown"}.get(refusal.kind, "invalid")
            reply = _failure(code, refusal.message)
        message = inbound.message
        if not message.reply_to:
            # Nobody waits for the failure, so it is recorded as a refusal of the message.
            if reply.error is not None and inbound.refusal is None:
                uow.refuse(MessageRefused(reply.error.code, reply.error.message))
            return
        for part in _replies(reply, uow.settings.max_message_bytes):
            uow.outgoing.messages.append(
                Message(
                    topic=message.reply_to,
                    payload=wire.encode(part),
                    correlation=message.correlation,
                    bulk=part.chunk is not None,
                )
            )

    # --- time -------------------------------------------------------------------------------------

    def _expire_leases(self, uow: UnitOfWork) -> None:
        # After a reconnect workers get a full lease to send the heartbeats that were lost.
        lease_us = int(self._settings.lease_s * 1e6)
        if self._connected_since_us is None or uow.now_us < self._connected_since_us + lease_us:
            return
        for run in uow.transaction.expired_runs(uow.now_us):
            # A run that another control plane had locked may be renewed by now.
            if run.leased and run.expires <= uow.now_us:
                uow.apply(run, Expired(at=uow.now_us))
                uow.outgoing.expired.append(run)

    def _follow_up(self, uow: UnitOfWork) -> None:
        """Do what follows from the ends of runs: retries first, as they keep their order's key."""
        for run in uow.ended:
            if run.status in REPEATABLE:
                retry_automatically(uow, self._policy, run)
            order = uow.transaction.order(run.order_id)
            if order is not None and order.last_run == run.id:
                forget_by_policy(uow, self._policy.of(order.project), order)
            if order is not None and order.unique_key is not None and STATUSES[order.status].final:
                release_key(uow, order)

    def _write_checkpoint(self, uow: UnitOfWork) -> None:
        """Store a time before which all committed states are published, for the next start."""
        # A clock that was set back must not stop the checkpoints until it has caught up.
        self._last_checkpoint_us = min(self._last_checkpoint_us, uow.now_us)
        due = uow.now_us - self._last_checkpoint_us > CHECKPOINT_INTERVAL_US
        if self._connected_since_us is not None and due:
            # The time of the checkpoint before: what was committed since may still be in a queue.
            uow.transaction.put_meta(_CHECKPOINT, self._last_checkpoint_us)
            self._last_checkpoint_us = uow.now_us

    def _apply_retention(self, uow: UnitOfWork) -> None:
        retain_us = int(self._settings.retain_s * 1e6)
        self._last_retention_us = min(self._last_retention_us, uow.now_us)
        if uow.now_us - self._last_retention_us <= RETENTION_INTERVAL_US:
            return
        forget_chunks(uow)
        # Until nothing is left, each tick deletes a part: one large transaction would block.
        before = uow.now_us - retain_us
        if retain_us and (
            delete_ended_orders(uow.transaction, before)
            or delete_old_actions(uow.transaction, before)
        ):
            return
        self._last_retention_us = uow.now_us

    def _clean_up_triggers(self, uow: UnitOfWork) -> None:
        self._last_cleaning_us = min(self._last_cleaning_us, uow.now_us)
        if uow.now_us - self._last_cleaning_us <= RETENTION_INTERVAL_US:
            return
        self._last_cleaning_us = uow.now_us
        delete_expired_keys(uow)
        delete_old_ticks(uow)
        delete_old_dead_letters(uow.transaction)

    # --- the queue --------------------------------------------------------------------------------

    def _assign_runs(self, uow: UnitOfWork) -> None:
        """Lease waiting runs to workers with pending claims."""
        demands = {worker: claim.demand for worker, claim in uow.pending_claims.items()}
        if not any(demands.values()):
            return
        # The queue is read by queries, which do not see what is not written yet.
        uow.transaction.flush()
        # Most often no run waits: the rest is not read then.
        if not uow.transaction.queues(1):
            return
        if self._settings.shared and not (demands := self._own_claims(uow, demands)):
            return
        offers = read_offers(uow)
        slots = FreeSlots(demands, offers, offers.values())
        assigned: dict[str, list[str]] = {}
        for worker, run_id in RunSelector(
            uow.transaction, self._policy, slots, uow.now_us
        ).select():
            assigned.setdefault(worker, []).append(run_id)
        for worker, run_ids in assigned.items():
            self._lease_runs(uow, worker, run_ids)

    def _own_claims(self, uow: UnitOfWork, demands: Mapping[str, int]) -> dict[str, int]:
        """Return the demands of the claims that no other control plane answers or has answered."""
        claims = {uow.pending_claims[worker].claim_id: worker for worker in demands}
        locked = uow.transaction.lock_claims(claims)
        # In a statement of its own, which sees what was committed before the locks.
        for claim_id in uow.transaction.answered_claims(locked):
            del uow.pending_claims[claims[claim_id]]
            locked.remove(claim_id)
        return {claims[claim_id]: demands[claims[claim_id]] for claim_id in locked}

    def _lease_runs(self, uow: UnitOfWork, worker: str, run_ids: Sequence[str]) -> None:
        claim = uow.pending_claims.pop(worker)
        uow.transaction.load_runs(run_ids)
        runs = [run for id in run_ids if (run := uow.transaction.run(id)) is not None]
        uow.transaction.load_orders(run.order_id for run in runs)
        room = uow.settings.max_message_bytes
        leased: list[RunRecord] = []
        for run in runs:
            # Another control plane may have cancelled it between the query and the lock.
            if run.phase is not RunPhase.AVAILABLE:
                continue
            # The rest of the runs waits for the next claim.
            if leased and room < run_content.assigned_bytes(uow, run):
                break
            room -= run_content.assigned_bytes(uow, run)
            claimed = Claimed(
                worker=worker,
                incarnation=claim.incarnation,
                claim_id=claim.claim_id,
                token=self._token(),
                expires=uow.lease_end,
                at=uow.now_us,
            )
            leased.append(uow.apply(run, claimed))
        run_content.assign(uow, worker, claim.claim_id, leased)


def read_offers(uow: UnitOfWork) -> dict[str, Offer]:
    """Read what the workers of the fleet offer, by name."""
    stored = uow.transaction.offers(uow.now_us - KNOWN_WORKER_US)
    return {
        name: Offer() if text is None else Offer(decode_words(text), True)
        for name, text in stored.items()
    }


def _prefetch(uow: UnitOfWork, batch: Sequence[InboundMessage]) -> None:
    """Read the rows that a batch refers to, in one query per table."""
    transaction = uow.transaction
    transaction.load_runs(id for inbound in batch for id in run_ids_of(inbound))
    of_runs = {run.order_id for run in transaction.known_runs()}
    transaction.load_orders(of_runs.union(id for inbound in batch for id in order_ids_of(inbound)))


def _replies(reply: wire.Reply, max_bytes: int) -> Iterable[wire.Reply]:
    """Return a reply, or the replies with its chunks where it is too large for a message."""
    if len(wire.encode(reply)) <= max_bytes:
        return [reply]
    return [wire.Reply(chunk=chunk) for chunk in chunks_of(bytes(reply.ok), max_bytes)]


def _defect(error: Exception, topic: str) -> MessageRefused:
    return MessageRefused("defect", f"{type(error).__name__}: {error}"[:500], topic)


def _failure(code: str, message: str) -> wire.Reply:
    return wire.Reply(error=wire.Failure(code=code, message=message))
