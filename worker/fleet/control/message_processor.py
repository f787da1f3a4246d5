"""Processing of messages: each batch is one transaction, whose results are published afterwards.

A message that is refused changes nothing. Pending claims of workers are held in memory alone,
because workers repeat them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from sqlalchemy import Connection

from worker.core.status import STATUSES, Status
from worker.fleet.control.automatic_retries import retry_automatically
from worker.fleet.control.claiming import QueueTurn
from worker.fleet.control.client_requests import RequestHandler
from worker.fleet.control.due_runs import due_runs, late_runs, queue_due_run, reject_late_run
from worker.fleet.control.erasure import forget_by_policy
from worker.fleet.control.housekeeping import Housekeeping
from worker.fleet.control.idle_check import is_any_due
from worker.fleet.control.inbound import MessageParser
from worker.fleet.control.inline_secrets import InlineSecrets
from worker.fleet.control.lifecycle import Expired
from worker.fleet.control.message_batch import handle_all, is_claim, is_query
from worker.fleet.control.plane_metrics import Survey, take_survey
from worker.fleet.control.policy import Policy
from worker.fleet.control.run_assignment import assign_runs, waiting_projects
from worker.fleet.control.run_content_cache import RunContentCache
from worker.fleet.control.state_publication import StatePublication, collect_alerts
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.timed_work import KnownDefects, TimedWork, text_of
from worker.fleet.control.triggers.cron import CronFiring, fire_due
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.deploying import DeploymentRules, check_registry
from worker.fleet.control.triggers.firing import Firing, fire
from worker.fleet.control.triggers.order_result import Fired
from worker.fleet.control.triggers.results import mark_replied
from worker.fleet.control.unique_orders import release_key
from worker.fleet.control.unit_of_work import (
    MessageRefused,
    Outgoing,
    PendingClaim,
    Settings,
    UnitOfWork,
)
from worker.fleet.control.worker_messages import is_first, pending_claim
from worker.fleet.control.worker_names import is_recorded
from worker.fleet.control.workflow_registry import VersionCache, WorkflowRegistry
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import Claim
from worker.util.machine_clock import random_hex

T = TypeVar("T")
LATE_TICK_US = 1_000_000
"""A tick that comes this late means that this process itself was suspended."""
_QUEUE = "queue"
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
        self._versions = VersionCache()
        self._contacts: dict[str, tuple[str, int]] = {}
        self._connected_since_us: int | None = None
        self._last_tick_us = 0
        # The time of the first transaction of which nobody knows whether it was committed, since
        # the last tick that was.
        self._unsure_since_us: int | None = None
        self._leases_restart = False
        self._defects = KnownDefects()
        self._housekeeping = Housekeeping()
        self._turn = QueueTurn()
        self._last_echo_us = self._echoed_us = 0
        self._states = StatePublication()
        self.defers_claims = False
        """Whether another control plane answers claims at once; this one remembers them then."""

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
        if self.defers_claims and self._settings.shared:
            messages = self._remember_claims(messages, now_us)
        if not messages:
            return Outgoing()
        # Queries have a transaction of their own: rows that others wait for are locked no longer.
        queries = [message for message in messages if is_query(message)]
        if not queries or len(queries) == len(messages):
            return self._process_together(messages, now_us)
        changes = [message for message in messages if not is_query(message)]
        results = self._process_together(changes, now_us)
        results.extend(self._process_together(queries, now_us))
        return results

    def _remember_claims(self, messages: Sequence[Message], now_us: int) -> list[Message]:
        """Remember claims for the next transaction; return the messages that need one."""
        others: list[Message] = []
        topics = {message.topic for message in messages}
        for message in messages:
            parsed = self._parser.parse(message) if is_claim(message) else None
            # The name of a client's user may be the last level of a topic too.
            if (
                parsed is not None
                and isinstance(parsed.content, Claim)
                # A worker that goes offline withdraws its claims: those that came before it.
                and self._topics.worker(parsed.worker, "status") not in topics
                and self._can_wait(parsed.worker, parsed.content, now_us)
            ):
                self._pending_claims[parsed.worker] = pending_claim(parsed.content)
            else:
                others.append(message)
        return others

    def _can_wait(self, worker: str, claim: Claim, now_us: int) -> bool:
        lease_us = int(self._settings.lease_s * 1e6)
        is_known = is_recorded(self._contacts, worker, claim.incarnation, now_us, lease_us)
        return is_known and is_first(claim)

    def _process_together(self, messages: Sequence[Message], now_us: int) -> Outgoing:
        try:
            return self._in_store(now_us, lambda uow: self._process_batch(uow, messages))
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(messages) == 1:
                return self._process_without_queue(messages[0], error, now_us)
        # One by one, so that a message that triggers a defect does not block the others.
        results = Outgoing()
        for message in messages:
            results.extend(self._process_together([message], now_us))
        return results

    def _process_without_queue(self, message: Message, error: Exception, now_us: int) -> Outgoing:
        """Handle a message whose transaction has failed, where the waiting runs are to blame."""
        try:
            outgoing = self._in_store(
                now_us, lambda uow: self._process_batch(uow, [message], assigns=False)
            )
        except StoreUnavailable:
            raise
        except Exception:
            return Outgoing(refusals=[_defect(error, message.topic)])
        outgoing.extend(self._do_apart(self._queue(), CronFiring(), now_us))
        return outgoing

    def _process_batch(
        self, uow: UnitOfWork, messages: Sequence[Message], *, assigns: bool = True
    ) -> None:
        batch = [parsed for message in messages if (parsed := self._parser.parse(message))]
        handle_all(uow, batch, self._requests)
        self._follow_up(uow)
        if assigns:
            self._assign_runs(uow)

    def tick(self, now_us: int, echoed_us: int | None = None) -> Outgoing:
        """Do what is due: expire leases, delete old orders, assign runs. Return what to publish.

        All messages that were on their way to the broker and from it at ``echoed_us`` have arrived:
        leases expire that ended before it, and what was published before it is not lost. By default
        this is ``now_us``.
        """
        self._note_echo(now_us if echoed_us is None else echoed_us, now_us)
        since_last = now_us - self._last_tick_us if self._last_tick_us else 0
        late = not 0 <= since_last <= LATE_TICK_US
        self._last_tick_us = now_us
        # While this process was suspended, or the database away, heartbeats piled up unread; and a
        # clock that was set has made leases longer or shorter: they start anew.
        if (late or self._unsure_since_us is not None) and self._connected_since_us is not None:
            self._connected_since_us = now_us
            self._leases_restart = True
        is_any_due = self._is_any_due(now_us)
        if not is_any_due and not self._is_due_by_clock(now_us):
            return Outgoing()
        last_us = now_us - since_last
        outgoing = _committed(self._tick_in_store(now_us, last_us, by_clock=not is_any_due))
        if self._housekeeping.frees_pages:
            self._housekeeping.frees_pages = False
            # The tick is committed: what it publishes must not be lost for this.
            with contextlib.suppress(StoreUnavailable):
                self._store.give_pages_back()
        return outgoing

    def _note_echo(self, echoed_us: int, now_us: int) -> None:
        """Set the time of the last echo: it goes back with the clock, and not forth without one."""
        is_new = echoed_us != self._last_echo_us
        self._last_echo_us = echoed_us
        # One from the future is from before the clock was set back.
        self._echoed_us = echoed_us if is_new and echoed_us <= now_us else self._echoed_us
        self._echoed_us = min(self._echoed_us, now_us)

    def _is_any_due(self, now_us: int) -> bool:
        """Look for rows that are due, and for states to publish anew."""
        if self._unsure_since_us is not None or self._leases_restart:
            return True
        # Where the database is away, the tick fails, and what follows from that is done there.
        with contextlib.suppress(StoreUnavailable), self._store.read() as connection:
            return is_any_due(connection, now_us, has_claims=bool(self._pending_claims))
        return True

    def _is_due_by_clock(self, now_us: int) -> bool:
        return self._states.checkpoint.is_due(now_us) or self._housekeeping.is_due(now_us)

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
                return self._fire_without_queue(items[0], error, now_us)
        # One by one: the broker sends a message again that ends this process, for ever.
        results, outgoing = list[Fired](), Outgoing()
        for item in items:
            fired, published = self.fire([item], now_us)
            results += fired
            outgoing.extend(published)
        return results, outgoing

    def _fire_without_queue(
        self, item: Firing | DeadLetter, error: Exception, now_us: int
    ) -> tuple[list[Fired], Outgoing]:
        """Make the order where the waiting runs are to blame; the next tick assigns those."""
        try:
            return self._fire_batch([item], now_us, assigns=False)
        except StoreUnavailable:
            raise
        except Exception:
            return self._fire_defective(item, error, now_us)

    def _fire_defective(
        self, item: Firing | DeadLetter, error: Exception, now_us: int
    ) -> tuple[list[Fired], Outgoing]:
        """Store what triggers a defect as a dead letter."""
        refusal = _defect(error, item.topic)
        if isinstance(item, DeadLetter):
            fired = Fired(failure=refusal.kind, message=refusal.message)
            return [fired], Outgoing(refusals=[refusal])
        letter = item.as_dead_letter(refusal.kind, refusal.message)
        results, outgoing = self.fire([letter], now_us)
        outgoing.refusals.append(refusal)
        return results, outgoing

    def _fire_batch(
        self, items: Sequence[Firing | DeadLetter], now_us: int, *, assigns: bool = True
    ) -> tuple[list[Fired], Outgoing]:
        results: list[Fired] = []

        def fire_all(uow: UnitOfWork) -> None:
            results[:] = fire(uow, self._requests, items, self._token)
            if assigns and any(isinstance(item, Firing) for item in items):
                self._assign_runs(uow)

        return results, self._in_store(now_us, fire_all)

    def read(self, query: Callable[[Connection], T]) -> T:
        """Return the result of a query."""
        with self._store.read() as connection:
            return query(connection)

    def holds_lock(self, key: int) -> bool:
        """Return True while this control plane holds a lock of the store."""
        return self._store.holds_lock(key)

    def mark_replied(self, order_ids: Sequence[str]) -> None:
        """Record that the replies of orders were sent."""
        self._store.execute(lambda transaction: mark_replied(transaction.connection, order_ids))

    def _in_store(self, now_us: int, work: Callable[[UnitOfWork], None]) -> Outgoing:
        """Do work in a transaction. Return what it publishes."""
        self._states.checkpoint.start(now_us)

        def attempt(transaction: Transaction) -> UnitOfWork:
            uow = self._unit_of_work(transaction, now_us)
            self._states.checkpoint.keep(uow)
            work(uow)
            return uow

        try:
            uow = self._store.execute(attempt)
        except StoreUnavailable:
            if self._unsure_since_us is None:
                self._unsure_since_us = now_us
            # A commit may have assigned runs to them. A repeated claim gets these runs.
            self._pending_claims.clear()
            raise
        self._pending_claims = uow.pending_claims
        return uow.outgoing

    def _tick_in_store(self, now_us: int, last_us: int, *, by_clock: bool = False) -> Outgoing:
        """Do the work that is due, or only that which is due ``by_clock``."""
        self._defects.forget_old(now_us)
        firing = CronFiring()
        works = self._timed_works(last_us, firing)
        if by_clock:
            works = [work for work in works if work.by_clock]
        while True:
            try:
                return self._in_store(now_us, lambda uow: self._tick(uow, works))
            except StoreUnavailable:
                raise
            except Exception as error:
                # Once more, without the trigger whose ticks trigger a defect.
                if not firing.exclude(error):
                    return self._tick_apart(works, firing, now_us, error)

    def _timed_works(self, last_us: int, firing: CronFiring) -> Sequence[TimedWork]:
        def fire_triggers(uow: UnitOfWork, _: str) -> None:
            fire_due(uow, self._requests, self._requests.cancel_order, self._token, firing)

        return (
            TimedWork(name="states", do=lambda uow, _: self._publish_anew(uow, last_us)),
            TimedWork(name="leases", items=self._expired_runs, do=_expire),
            TimedWork(name="deadlines", items=late_runs, do=reject_late_run),
            TimedWork(name="delays", items=due_runs, do=queue_due_run),
            TimedWork(name="retries", do=lambda uow, _: self._follow_up(uow)),
            TimedWork(
                name="checkpoint", do=lambda uow, _: self._advance_checkpoint(uow), by_clock=True
            ),
            TimedWork(
                name="retention",
                do=lambda uow, _: self._housekeeping.apply_retention(uow),
                by_clock=True,
            ),
            TimedWork(name="triggers", do=fire_triggers),
            TimedWork(
                name="cleaning",
                do=lambda uow, _: self._housekeeping.clean_up_triggers(uow),
                by_clock=True,
            ),
            self._queue(),
        )

    def _queue(self) -> TimedWork:
        return TimedWork(name=_QUEUE, items=waiting_projects, do=self._assign_runs)

    def _tick(self, uow: UnitOfWork, works: Sequence[TimedWork]) -> None:
        for work in works:
            # The projects share the slots: together, unless one of them has a defect.
            if work.name == _QUEUE:
                self._assign_runs(uow)
                continue
            for item in work.due(uow, self._defects):
                work.do(uow, item)

    def _tick_apart(
        self, works: Sequence[TimedWork], firing: CronFiring, now_us: int, error: Exception
    ) -> Outgoing:
        """Do each part of a tick that has failed by itself. Raise its error where none succeeds."""
        results, failed = Outgoing(), 0
        for work in works:
            outgoing = self._do_apart(work, firing, now_us)
            failed += work.name in outgoing.defects
            results.extend(outgoing)
        if failed == len(works):
            raise error
        return results

    def _do_apart(self, work: TimedWork, firing: CronFiring, now_us: int) -> Outgoing:
        """Do a part of the work, each of its items in a transaction of its own."""
        items: list[str] = []

        def list_items(uow: UnitOfWork) -> None:
            items[:] = work.due(uow, self._defects)

        results = self._do_alone(work.name, list_items, firing, now_us)
        for item in items:

            def do(uow: UnitOfWork, item: str = item) -> None:
                work.do(uow, item)
                self._follow_up(uow)

            results.extend(self._do_alone(work.named(item), do, firing, now_us))
        return results

    def _do_alone(
        self, name: str, do: Callable[[UnitOfWork], None], firing: CronFiring, now_us: int
    ) -> Outgoing:
        """Do something in a transaction of its own, and leave it out for a while if that fails."""
        while True:
            try:
                return self._in_store(now_us, do)
            except StoreUnavailable:
                raise
            except Exception as error:
                if firing.exclude(error):
                    continue
                self._defects.add(name, now_us)
                return Outgoing(defects={name: text_of(error)})

    def _publish_anew(self, uow: UnitOfWork, last_us: int) -> None:
        """Publish what may have been committed without being published, or not in its order."""
        if self._leases_restart:
            uow.transaction.cap_leases(uow.lease_end)
        if self._unsure_since_us is not None:
            self._states.collect(uow, self._unsure_since_us)
        elif self._leases_restart and self._settings.shared:
            # What was committed before the pause may have been published after it, behind newer
            # states of other control planes.
            self._states.publish_since(uow, last_us)
        # Where this part is left out for a defect, it is due until it was done.
        uow.outgoing.when_committed.append(self._set_sure)

    def _set_sure(self) -> None:
        self._unsure_since_us, self._leases_restart = None, False

    def on_connected(self, now_us: int) -> Outgoing:
        """Collect the states and alerts that may have been lost before this connection."""
        self._connected_since_us = now_us
        return _committed(self._in_store(now_us, self._reconnect))

    def _reconnect(self, uow: UnitOfWork) -> None:
        # The clock may have been set back since: a lease must not last longer for that.
        uow.transaction.cap_leases(uow.lease_end)
        self._states.collect(uow, self._states.checkpoint.begin(uow))

    def publish_all_again(self) -> None:
        """Publish all states again that a broker retains, in pages."""
        self._states.request_all()

    @property
    def has_unpublished(self) -> bool:
        """Whether there are states to publish again."""
        return self._states.next_place is not None

    def next_states(self, now_us: int) -> Outgoing:
        """Collect the next page of the states that are to be published again."""
        after = self._states.next_place
        if after is None:
            return Outgoing()

        def publish(uow: UnitOfWork) -> None:
            self._states.publish_page(uow, after)

        return _committed(self._in_store(now_us, publish))

    def open_alerts(self, channel: str, now_us: int) -> Outgoing:
        """Collect the oldest alerts that a channel has not delivered."""
        return self._in_store(now_us, lambda uow: collect_alerts(uow, channel))

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
        self._store.execute(lambda transaction: transaction.mark_delivered(run_id, channels))

    def mark_notified(self, run_ids: Sequence[str], now_us: int) -> None:
        """Record that the alerts of runs were delivered over all channels."""
        self._store.execute(lambda transaction: transaction.mark_notified(run_ids, now_us))

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
            self._versions,
        )

    # --- time -------------------------------------------------------------------------------------

    def _expired_runs(self, uow: UnitOfWork) -> list[str]:
        """Load the runs whose leases have expired; return their ids."""
        # After a reconnect workers get a full lease to send the heartbeats that were lost.
        lease_us = int(self._settings.lease_s * 1e6)
        if self._connected_since_us is None or uow.now_us < self._connected_since_us + lease_us:
            return []
        ended = uow.transaction.expired_runs(uow.now_us)
        expired = [run.id for run in ended if run.expires <= self._echoed_us]
        # Heartbeats of the others may be on the way: the connection to the broker may be late.
        if len(expired) < len(ended):
            uow.outgoing.echo_us = uow.now_us
            uow.outgoing.awaits_echo = True
        return expired

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

    def _advance_checkpoint(self, uow: UnitOfWork) -> None:
        # What a commit of unknown outcome has changed is published by this tick: it is later.
        if self._connected_since_us is not None and self._unsure_since_us is None:
            self._states.advance(uow, self._echoed_us)

    # --- the queue --------------------------------------------------------------------------------

    def _assign_runs(self, uow: UnitOfWork, project: str = "") -> None:
        """Lease waiting runs to workers with pending claims; of ``project`` alone, if given."""
        if self._defects.covers(_QUEUE):
            return

        def serves(waiting: str) -> bool:
            left_out = self._defects.covers(f"{_QUEUE} {waiting}")
            return waiting == project if project else not left_out

        assign_runs(uow, self._policy, self._token, serves, self._turn)


def _committed(outgoing: Outgoing) -> Outgoing:
    """Make the changes in memory that belong to what is committed."""
    # Not in the attempts: one can be rolled back, and what the parts of a tick publish is lost
    # where a later part fails.
    for change in outgoing.when_committed:
        change()
    return outgoing


def _expire(uow: UnitOfWork, run_id: str) -> None:
    run = uow.transaction.run(run_id)
    # A run that another control plane had locked may be renewed by now.
    if run is not None and run.leased and run.expires <= uow.now_us:
        uow.apply(run, Expired(at=uow.now_us))
        uow.outgoing.expired.append(run)


def _defect(error: Exception, topic: str) -> MessageRefused:
    return MessageRefused("defect", text_of(error), topic)
