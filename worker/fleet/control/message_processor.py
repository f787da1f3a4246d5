"""The plane: a batch of messages in, one transaction, what is to be said out.

Nothing is said before it is committed; a message that is refused changes nothing. The claims of
workers that wait are kept in memory alone: workers repeat them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from worker.fleet.control import lifecycle
from worker.fleet.control import worker_messages as from_workers
from worker.fleet.control.client_requests import RequestError, RequestHandler
from worker.fleet.control.entities import RunPhase
from worker.fleet.control.inbound import InboundMessage, MessageParser, orders_of, runs_of
from worker.fleet.control.policy import Policy
from worker.fleet.control.queue import PartitionHead, choose, share
from worker.fleet.control.retention import forget
from worker.fleet.control.store.store import Store, again
from worker.fleet.control.unit_of_work import (
    MessageRefused,
    Outgoing,
    PendingClaim,
    Settings,
    UnitOfWork,
)
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.topics import Topics

_WORKERS: dict[str, Callable[[UnitOfWork, str, Any], None]] = {
    "status": from_workers.status,
    "claim": from_workers.claim,
    "reports": from_workers.reports,
    "beat": from_workers.beat,
    "release": from_workers.release,
}
FORGET_EVERY = 60_000_000
NOTE_EVERY = 2_000_000
_SURE = "sure"
PAUSE = 1_000_000
"""A tick that is so late (in microseconds) tells that this process was held up itself."""


class MessageProcessor:
    """Applies the rules to messages. Not for more than one thread at a time."""

    def __init__(
        self,
        store: Store,
        *,
        topics: Topics = Topics(),
        settings: Settings = Settings(),
        policy: Policy | None = None,
        library: WorkflowRegistry | None = None,
        token: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> None:
        self._store = store
        self._topics = topics
        self._settings = settings
        self._policy = policy or Policy()
        self._desk = RequestHandler(self._policy, library or WorkflowRegistry())
        self._reader = MessageParser(topics, settings.payload_limit)
        self._token = token
        self._standing: dict[str, PendingClaim] = {}
        self._connected_since: int | None = None
        self._ticked = 0
        self._forgot = 0
        self._noted = 0

    # --- batches ----------------------------------------------------------------------------------

    def process(self, messages: Sequence[Message], now: int) -> Outgoing:
        """Handle messages together; where that fails one by one, so that one stops no other."""
        try:
            return again(lambda: self._together(messages, now))
        except Exception as error:
            if len(messages) == 1:
                said = Outgoing()
                text = f"{type(error).__name__}: {error}"[:500]
                said.refusals.append(MessageRefused("defect", text, messages[0].topic))
                return said
        whole = Outgoing()
        for message in messages:
            said = self.process([message], now)
            whole.messages += said.messages
            whole.alerts += said.alerts
            whole.refusals += said.refusals
            whole.ended += said.ended
        return whole

    def _together(self, messages: Sequence[Message], now: int) -> Outgoing:
        heard = [one for message in messages if (one := self._reader.read(message))]
        with self._store.work() as work:
            batch = self._batch(work, now)
            _fetch(batch, heard)
            for one in heard:
                batch.topic = one.message.topic
                try:
                    self._handle(batch, one)
                except MessageRefused as refusal:
                    batch.refuse(refusal)
            self._assign(batch)
        return self._done(batch)

    def tick(self, now: int) -> Outgoing:
        """What time does: leases expire, old orders are forgotten, and claims are looked at."""
        late = self._ticked and now - self._ticked > PAUSE
        self._ticked = now
        if late and self._connected_since is not None:
            self._connected_since = now
        return again(lambda: self._tick(now))

    def _tick(self, now: int) -> Outgoing:
        with self._store.work() as work:
            batch = self._batch(work, now)
            self._expire(batch)
            self._note_time(batch)
            keep, due = self._settings.keep_s, now - self._forgot > FORGET_EVERY
            if keep and due and not forget(batch, now - int(keep * 1e6)):
                self._forgot = now  # there is nothing more to forget
            self._assign(batch)
        return self._done(batch)

    def connected(self, now: int) -> Outgoing:
        """The bus is there again: say the states that somebody may have missed."""
        self._connected_since = now
        with self._store.work() as work:
            batch = self._batch(work, now)
            sure = work.meta(_SURE)
            self._noted = max(self._noted, sure or 0)
            for run in work.changed_since(sure) if sure is not None else ():
                batch.announce(run)
            for run in work.unnotified():
                batch.alarm(run)
        return self._done(batch)

    def disconnected(self) -> None:
        """The bus is gone, and with it what workers would have said: no lease expires."""
        self._connected_since = None
        self._standing.clear()

    def notified(self, run_ids: Sequence[str], now: int) -> None:
        """These alerts were delivered."""
        with self._store.work() as work:
            work.mark_notified(run_ids, now)

    def _batch(self, work: Any, now: int) -> UnitOfWork:
        return UnitOfWork(work, now, self._topics, self._settings, dict(self._standing))

    def _done(self, batch: UnitOfWork) -> Outgoing:
        self._standing = batch.standing
        return batch.said

    # --- messages ---------------------------------------------------------------------------------

    def _handle(self, batch: UnitOfWork, heard: InboundMessage) -> None:
        if heard.method:
            self._answer(batch, heard)
        elif heard.refusal is not None:
            raise heard.refusal
        else:
            _WORKERS[heard.what](batch, heard.worker, heard.shape)

    def _answer(self, batch: UnitOfWork, heard: InboundMessage) -> None:
        try:
            if heard.refusal is not None:
                raise heard.refusal
            answer = self._desk.methods[heard.method](batch, heard.shape)
            reply = wire.Reply(ok=msgspec.Raw(wire.encode(answer)))
        except RequestError as denied:
            reply = _failure(denied.code, denied.message)
        except MessageRefused as refusal:
            batch.refuse(refusal)
            code = {"oversized": "too_large", "unknown": "unknown"}.get(refusal.kind, "invalid")
            reply = _failure(code, refusal.message)
        message = heard.message
        batch.said.messages.append(
            Message(
                topic=message.reply_to,
                payload=wire.encode(reply),
                correlation=message.correlation,
            )
        )

    # --- time -------------------------------------------------------------------------------------

    def _expire(self, batch: UnitOfWork) -> None:
        if self._connected_since is None:
            return
        lease = int(self._settings.lease_s * 1e6)
        for run in batch.work.expired(batch.now):
            # What workers said while nobody listened is still to come.
            # A run that another control plane had locked may be renewed by now.
            if not run.leased or run.expires > batch.now:
                continue
            if batch.now >= self._connected_since + lease:
                batch.change(lifecycle.expire(run, batch.now))

    def _note_time(self, batch: UnitOfWork) -> None:
        """Until when it is sure that what was committed was also said."""
        if self._connected_since is not None and batch.now - self._noted > NOTE_EVERY:
            batch.work.put_meta(_SURE, self._noted)
            self._noted = batch.now

    def _assign(self, batch: UnitOfWork) -> None:
        """Give runs that wait to claims that wait."""
        demand = sum(one.demand for one in batch.standing.values())
        if demand == 0:
            return
        batch.work.flush()
        heads = [head for lane in batch.work.lanes() if (head := self._head(batch, lane, demand))]
        if not heads:
            return
        chosen = choose(heads, batch.work.leased(), demand)
        demands = {worker: one.demand for worker, one in batch.standing.items()}
        given: dict[str, list[str]] = {}
        for worker, run_id in share(demands, chosen):
            given.setdefault(worker, []).append(run_id)
        for worker, run_ids in given.items():
            self._give(batch, worker, run_ids)

    def _head(self, batch: UnitOfWork, lane: Any, demand: int) -> PartitionHead | None:
        limit = self._policy.concurrency(lane.project, lane.workflow)
        room = demand if limit is None else min(demand, limit - lane.leased)
        if room <= 0:
            return None
        return PartitionHead(lane=lane, waiting=batch.work.waiting(lane, room), limit=limit)

    def _give(self, batch: UnitOfWork, worker: str, run_ids: Sequence[str]) -> None:
        standing = batch.standing.pop(worker)
        batch.work.load_runs(run_ids)
        runs = []
        for run_id in run_ids:
            run = batch.work.run(run_id)
            if run is None or run.phase is not RunPhase.AVAILABLE:
                continue  # another control plane has cancelled it meanwhile
            run = lifecycle.claim(
                run,
                worker=worker,
                incarnation=standing.incarnation,
                claim_id=standing.claim_id,
                token=self._token(),
                expires=batch.lease_ends,
            )
            batch.change(run)
            runs.append(run)
        batch.work.load_orders(run.order_id for run in runs)
        from_workers.assign(batch, worker, standing.claim_id, runs)


def _fetch(batch: UnitOfWork, heard: Sequence[InboundMessage]) -> None:
    """Read what a batch is about in as few queries as there are tables."""
    batch.work.load_runs(id for one in heard for id in runs_of(one))
    orders = {run.order_id for run in batch.work.known_runs()}
    batch.work.load_orders(orders.union(id for one in heard for id in orders_of(one)))


def _failure(code: str, message: str) -> wire.Reply:
    return wire.Reply(error=wire.Failure(code=code, message=message))
