"""A transaction: an identity map of orders and runs, whose changes are written in few statements.

Orders and runs are locked when they are read (where the database has row locks). Changes are
collected and written together at the end.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Table, bindparam, delete, func, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.fleet.control.entities import (
    ProjectRecord,
    RunPhase,
    RunRecord,
    WorkOrder,
)
from worker.fleet.control.queue import ProjectQueue, rank
from worker.fleet.control.store import tables
from worker.fleet.control.store.rows import order_of, order_row, run_of, run_row, with_key

# All transactions lock rows in the order of their ids, which avoids most deadlocks.
_ORDERS = (
    select(tables.ORDERS)
    .where(tables.ORDERS.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(tables.ORDERS.c.id)
    .with_for_update()
)
_RUNS = (
    select(tables.RUNS)
    .where(tables.RUNS.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(tables.RUNS.c.id)
    .with_for_update()
)
_SET_ORDER = update(tables.ORDERS).where(tables.ORDERS.c.id == bindparam("key"))
# A second line of defence: a final run never changes, even if the lifecycle has a defect.
_SET_RUN = update(tables.RUNS).where(
    tables.RUNS.c.id == bindparam("key"), tables.RUNS.c.phase != RunPhase.FINAL.value
)
_QUEUES = (
    select(tables.QUEUES.c.project, tables.QUEUES.c.priority, tables.QUEUES.c.since)
    .order_by(tables.QUEUES.c.rank, tables.QUEUES.c.since, tables.QUEUES.c.project)
    .limit(bindparam("most"))
    .offset(bindparam("offset"))
)
_QUEUE = (tables.QUEUES.c.project == bindparam("p")) & (tables.QUEUES.c.priority == bindparam("q"))
# Whoever adds a run holds its queue until the commit, so that nobody drops it as empty meanwhile.
_HOLD_QUEUE = select(tables.QUEUES.c.priority).where(_QUEUE).with_for_update(read=True)
_LOCK_QUEUE = select(tables.QUEUES.c.priority).where(_QUEUE).with_for_update(skip_locked=True)
_SERVED = update(tables.QUEUES).where(_QUEUE).values(since=bindparam("now"), rank=bindparam("r"))
_IN_QUEUE = (
    (tables.RUNS.c.phase == RunPhase.AVAILABLE.value)
    & (tables.RUNS.c.project == bindparam("p"))
    & (tables.RUNS.c.priority == bindparam("q"))
)
_DROP_QUEUE = delete(tables.QUEUES).where(
    _QUEUE, ~select(tables.RUNS.c.id).where(_IN_QUEUE).exists()
)
_WAITING = (
    select(tables.RUNS.c.id, tables.RUNS.c.workflow, tables.RUNS.c.needs)
    .where(
        _IN_QUEUE,
        tables.RUNS.c.needs.not_in(bindparam("unmet", expanding=True)),
        tables.RUNS.c.workflow.not_in(bindparam("full", expanding=True)),
        tables.RUNS.c.id.not_in(bindparam("reserved", expanding=True)),
    )
    .order_by(tables.RUNS.c.age)
    .limit(bindparam("count"))
    # Runs that another control plane is leasing or cancelling are not waited for.
    .with_for_update(skip_locked=True)
)
_CLAIMED = select(tables.RUNS.c.id).where(tables.RUNS.c.claim_id == bindparam("claim"))
# PostgreSQL alone: SQLite has one control plane.
_LOCK_CLAIMS = text(
    "SELECT claim FROM unnest(CAST(:ids AS text[])) AS claim"
    " WHERE pg_try_advisory_xact_lock(hashtextextended(claim, 0))"
)
_LEASES = (tables.RUNS.c.phase == RunPhase.CLAIMED.value) | (
    tables.RUNS.c.phase == RunPhase.STARTED.value
)
# The limit keeps a tick short when many leases expire together; the next tick does the rest.
_EXPIRED = (
    select(tables.RUNS.c.id)
    .where(_LEASES, tables.RUNS.c.expires <= bindparam("now_us"))
    .order_by(tables.RUNS.c.expires)
    .limit(500)
)
_OF_WORKER = select(tables.RUNS.c.id).where(_LEASES, tables.RUNS.c.worker == bindparam("worker"))
_META = select(tables.META.c.value).where(tables.META.c.key == bindparam("name"))
_CHANGED = select(tables.RUNS.c.id).where(tables.RUNS.c.changed >= bindparam("time"))
_UNNOTIFIED = select(tables.ALERTS.c.run_id, tables.ALERTS.c.delivered).where(
    tables.ALERTS.c.notified.is_(None)
)
_WORKER = select(tables.WORKERS).where(tables.WORKERS.c.name == bindparam("worker"))
_OFFERS = select(tables.WORKERS.c.name, tables.WORKERS.c.offers).where(
    tables.WORKERS.c.online | (tables.WORKERS.c.since > bindparam("time"))
)
_DATACLIP = select(tables.DATACLIPS.c.text).where(
    tables.DATACLIPS.c.owner == bindparam("owner"), tables.DATACLIPS.c.id == bindparam("dataclip")
)
_DATACLIP_HEAD = select(func.substr(tables.DATACLIPS.c.text, 1, bindparam("characters"))).where(
    tables.DATACLIPS.c.owner == bindparam("owner"), tables.DATACLIPS.c.id == bindparam("dataclip")
)
_OF_CONTENT = (tables.CHUNKS.c.owner == bindparam("o")) & (tables.CHUNKS.c.hash == bindparam("h"))
_CHUNKS = select(tables.CHUNKS.c.place, tables.CHUNKS.c.data).where(_OF_CONTENT)
_STORED_CHUNKS = select(
    func.coalesce(func.sum(func.length(tables.CHUNKS.c.data)), 0).label("stored"),
    func.max(tables.CHUNKS.c.size).filter(tables.CHUNKS.c.place == 0).label("size"),
).where(_OF_CONTENT)
# Each unfinished content once: its first chunk names the size of the whole.
_UPLOADED_BYTES = select(func.coalesce(func.sum(tables.CHUNKS.c.size), 0)).where(
    tables.CHUNKS.c.place == 0
)
_AGE_CHUNKS = update(tables.CHUNKS).where(_OF_CONTENT).values(received=bindparam("time"))
_FORGET_CHUNKS = delete(tables.CHUNKS).where(tables.CHUNKS.c.received < bindparam("before"))
_PLAN = select(tables.PLANS.c.text).where(tables.PLANS.c.id == bindparam("plan"))
_PROJECT = (
    select(tables.PROJECTS.c.name)
    .where(tables.PROJECTS.c.name == bindparam("name"))
    .with_for_update()
)
_ACCEPTED = (
    select(tables.RUNS.c.id)
    .where(tables.RUNS.c.project == bindparam("name"), tables.RUNS.c.created > bindparam("since"))
    .limit(bindparam("most"))
)
_COUNT_ACCEPTED = select(func.count()).select_from(_ACCEPTED.subquery())
_UNFINISHED = (
    select(tables.RUNS.c.id)
    .where(
        tables.RUNS.c.phase.in_([phase.value for phase in RunPhase if phase is not RunPhase.FINAL]),
        tables.RUNS.c.project == bindparam("name"),
    )
    .limit(bindparam("most"))
)
_COUNT_UNFINISHED = select(func.count()).select_from(_UNFINISHED.subquery())
_LEASED = select(tables.RUNS.c.project, func.count()).where(_LEASES).group_by(tables.RUNS.c.project)
_LEASED_WORKFLOWS = (
    select(tables.RUNS.c.workflow, func.count())
    .where(_LEASES, tables.RUNS.c.project == bindparam("name"))
    .group_by(tables.RUNS.c.workflow)
)


STATES_PAGE = 500
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRun:
    """A run in a queue."""

    run_id: str
    workflow: str
    needs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """A row of the events table. The event's dataclip is a row of its own, with the id ``clip``."""

    run_id: str
    attempt: int
    seq: int
    type: str
    clip: str | None
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A row of the workers table. ``since`` is the time of the last change."""

    name: str
    incarnation: str
    online: bool
    draining: bool
    capacity: int
    version: str
    since: int
    offers: str | None = None
    heard: int = 0
    host: str = ""


class _IdentityMap(Generic[T]):
    """The records of one table: as they were read, and with their changes."""

    def __init__(self) -> None:
        self.current: dict[str, T] = {}
        self._stored: dict[str, T] = {}
        self._absent: set[str] = set()

    def start_loading(self, ids: Iterable[str]) -> list[str]:
        """Select the ids that were not read yet, and regard them as absent until they are."""
        unread = sorted(set(ids) - self.current.keys() - self._absent)
        self._absent.update(unread)
        return unread

    def loaded(self, id: str, record: T) -> None:
        self.current[id] = self._stored[id] = record

    @property
    def new(self) -> list[T]:
        return [record for id, record in self.current.items() if id not in self._stored]

    @property
    def changed(self) -> list[T]:
        return [
            record
            for id, record in self.current.items()
            if self._stored.get(id, record) is not record
        ]

    def mark_stored(self) -> None:
        self._stored = dict(self.current)


class Transaction:
    """The reads and pending writes of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._insert = (
            postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        )
        self._orders = _IdentityMap[WorkOrder]()
        self._runs = _IdentityMap[RunRecord]()
        self._plans: dict[str, str] = {}
        self._dataclips: dict[tuple[str, str], str] = {}
        self._projects: set[str] = set()
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._new_rows: dict[str, list[dict[str, Any]]] = {}
        # The queues of runs that are not written yet, each with the age of its oldest run.
        self._queued: dict[tuple[str, int], int] = {}
        self._reserved: list[str] = []
        # Changes of the counts that are not written yet: queries do not see them.
        self._unfinished: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()

    # --- orders and runs --------------------------------------------------------------------------

    def order(self, id: str) -> WorkOrder | None:
        self.load_orders([id])
        return self._orders.current.get(id)

    def run(self, id: str) -> RunRecord | None:
        self.load_runs([id])
        return self._runs.current.get(id)

    def load_orders(self, ids: Iterable[str]) -> None:
        """Read and lock the orders that were not read yet, in one query."""
        if unread := self._orders.start_loading(ids):
            for row in self.connection.execute(_ORDERS, {"ids": unread}).mappings():
                self._orders.loaded(row["id"], order_of(row))

    def load_runs(self, ids: Iterable[str]) -> None:
        """Read and lock the runs that were not read yet, in one query."""
        if unread := self._runs.start_loading(ids):
            for row in self.connection.execute(_RUNS, {"ids": unread}).mappings():
                self._runs.loaded(row["id"], run_of(row))

    def known_runs(self) -> list[RunRecord]:
        """List the runs that were read or added so far."""
        return list(self._runs.current.values())

    def put_order(self, order: WorkOrder) -> None:
        self._orders.current[order.id] = order

    def put_run(self, run: RunRecord) -> None:
        """Add or replace a run."""
        before = self._runs.current.get(run.id)
        self._runs.current[run.id] = run
        self._accepted[run.project] += before is None
        self._unfinished[run.project] += (run.phase is not RunPhase.FINAL) - (
            before is not None and before.phase is not RunPhase.FINAL
        )
        if run.phase is RunPhase.AVAILABLE:
            key = run.project, run.priority
            self._queued[key] = min(run.age, self._queued.get(key, run.age))

    # --- the queue --------------------------------------------------------------------------------

    def queues(self, most: int, offset: int = 0) -> list[ProjectQueue]:
        """List the queues in their order, some of them perhaps empty by now."""
        rows = self.connection.execute(_QUEUES, {"most": most, "offset": offset})
        return [ProjectQueue(**row._mapping) for row in rows]

    def leases_by_project(self) -> Counter[str]:
        return Counter({name: int(count) for name, count in self.connection.execute(_LEASED)})

    def leases_by_workflow(self, project: str) -> Counter[str]:
        rows = self.connection.execute(_LEASED_WORKFLOWS, {"name": project})
        return Counter({name: int(count) for name, count in rows})

    def count_assigned(
        self, since: int, *, project: str = "", workflow: str = "", need: str = ""
    ) -> int:
        """Count the runs that were leased last after a time: of a project, or with a need."""
        runs = tables.RUNS.c
        query = select(func.count()).where(runs.assigned > since)
        if project:
            query = query.where(runs.project == project)
        if workflow:
            query = query.where(runs.workflow == workflow)
        if need:
            query = query.where(runs.needs.contains(need, autoescape=True))
        return int(self.connection.execute(query).scalar_one())

    def waiting_runs(
        self, queue: ProjectQueue, count: int, full: Sequence[str], unmet: Iterable[str] = ()
    ) -> list[WaitingRun]:
        """List and lock the oldest runs of a queue.

        Without those of the workflows in ``full``, and those with needs in ``unmet``.
        """
        values = {**_key(queue.project, queue.priority), "count": count}
        rows = self.connection.execute(
            _WAITING,
            {**values, "full": list(full), "unmet": list(unmet), "reserved": self._reserved},
        )
        return [WaitingRun(run_id=row.id, workflow=row.workflow, needs=row.needs) for row in rows]

    def reserve(self, run_id: str) -> None:
        """Leave a run out of :meth:`waiting_runs` until its change is written."""
        self._reserved.append(run_id)

    def drop_if_empty(self, queue: ProjectQueue) -> None:
        """Delete a queue without runs, unless another transaction holds it."""
        key = _key(queue.project, queue.priority)
        # In two statements: the second sees what was committed before the lock.
        if self.connection.execute(_LOCK_QUEUE, key).first() is not None:
            self.connection.execute(_DROP_QUEUE, key)

    def mark_served(self, queues: Iterable[ProjectQueue], now_us: int) -> None:
        """Let queues age anew, except those that another transaction holds."""
        for queue in sorted(queues):
            key = _key(queue.project, queue.priority)
            if self.connection.execute(_LOCK_QUEUE, key).first() is not None:
                place = {"now": now_us, "r": rank(queue.priority, now_us)}
                self.connection.execute(_SERVED, {**key, **place})

    def runs_of_claim(self, claim_id: str) -> list[RunRecord]:
        """Load the runs that were assigned to a claim."""
        return self._load(self.connection.execute(_CLAIMED, {"claim": claim_id}).scalars())

    def lock_claims(self, claim_ids: Iterable[str]) -> list[str]:
        """Lock claims until the transaction ends; return those that no other transaction holds."""
        return list(self.connection.execute(_LOCK_CLAIMS, {"ids": sorted(claim_ids)}).scalars())

    def answered_claims(self, claim_ids: Sequence[str]) -> list[str]:
        """Select the claims that have runs."""
        claims = tables.RUNS.c.claim_id
        answered = select(claims).where(claims.in_(claim_ids)).distinct()
        return list(self.connection.execute(answered).scalars())

    def expired_runs(self, now_us: int) -> list[RunRecord]:
        return self._load(self.connection.execute(_EXPIRED, {"now_us": now_us}).scalars())

    def cap_leases(self, expires: int) -> None:
        """Let no lease end later than at a time."""
        runs = tables.RUNS
        later = update(runs).where(_LEASES, runs.c.expires > expires).values(expires=expires)
        self.connection.execute(later)

    def leased_runs_of(self, worker: str) -> list[RunRecord]:
        return self._load(self.connection.execute(_OF_WORKER, {"worker": worker}).scalars())

    def _load(self, ids: Iterable[str]) -> list[RunRecord]:
        run_ids = list(ids)
        self.load_runs(run_ids)
        return [self._runs.current[id] for id in run_ids]

    # --- projects, plans, dataclips ---------------------------------------------------------------

    def project(self, name: str, *, since: int, most: int) -> ProjectRecord:
        """Lock a project until the transaction ends, and return its counts, up to ``most``.

        Runs are counted as accepted that were created after ``since``.
        """
        self.lock_project(name)
        values = {"name": name, "since": since, "most": most}
        unfinished = self.connection.execute(_COUNT_UNFINISHED, values).scalar_one()
        accepted = self.connection.execute(_COUNT_ACCEPTED, values).scalar_one()
        return ProjectRecord(
            name=name,
            unfinished=int(unfinished) + self._unfinished[name],
            accepted=int(accepted) + self._accepted[name],
        )

    def lock_project(self, name: str) -> None:
        """Lock a project until the transaction ends."""
        if name not in self._projects:
            # Inserted first, because a row that does not exist cannot be locked.
            zero = {"name": name, "period_began": 0, "accepted": 0}
            table = tables.PROJECTS
            self.connection.execute(self._insert(table).values(zero).on_conflict_do_nothing())
            self.connection.execute(_PROJECT, {"name": name})
            self._projects.add(name)

    def plan(self, id: str) -> str:
        if id not in self._plans:
            self._plans[id] = self.connection.execute(_PLAN, {"plan": id}).scalar_one()
        return self._plans[id]

    def put_plan(self, id: str, text: str) -> None:
        if id in self._plans:
            return
        self._plans[id] = text
        self.add("plans", {"id": id, "text": text})

    def dataclip(self, owner: str, id: str) -> str | None:
        if (owner, id) in self._dataclips:
            return self._dataclips[owner, id]
        key = {"owner": owner, "dataclip": id}
        text: str | None = self.connection.execute(_DATACLIP, key).scalar()
        return text

    def put_dataclip(self, owner: str, id: str, text: str) -> None:
        self._dataclips[owner, id] = text
        self.add("clips", {"owner": owner, "id": id, "text": text})

    def short_dataclip(self, owner: str, id: str, max_bytes: int) -> str | None:
        """Return a dataclip of up to ``max_bytes``; ``None`` for a larger one. Empty: no such one.

        A larger one is not read as a whole.
        """
        head = self._dataclips.get((owner, id))
        if head is None:
            key = {"owner": owner, "dataclip": id, "characters": max_bytes + 1}
            head = self.connection.execute(_DATACLIP_HEAD, key).scalar() or ""
        return head if len(head.encode()) <= max_bytes else None

    # --- chunks -----------------------------------------------------------------------------------

    def put_chunk(self, row: dict[str, Any]) -> None:
        self.add("chunks", row)

    def chunks(self, owner: str, hash: str) -> dict[int, bytes]:
        """Read the chunks of a content, by their offsets."""
        self.flush()
        rows = self.connection.execute(_CHUNKS, {"o": owner, "h": hash})
        return {row.place: row.data for row in rows}

    def uploaded_bytes(self) -> int:
        """Sum the sizes of all contents whose chunks are stored."""
        self.flush()
        return int(self.connection.execute(_UPLOADED_BYTES).scalar_one())

    def stored_chunks(self, owner: str, hash: str) -> tuple[int | None, int]:
        """Read the size that the first chunk of a content names, if any, and the stored bytes."""
        self.flush()
        row = self.connection.execute(_STORED_CHUNKS, {"o": owner, "h": hash}).one()
        return row.size, int(row.stored)

    def age_chunks(self, owner: str, hash: str, received: int) -> None:
        """Set the time from which on the chunks of a content age."""
        self.connection.execute(_AGE_CHUNKS, {"o": owner, "h": hash, "time": received})

    def forget_chunks(self, before: int) -> None:
        """Delete the chunks that were received before a time."""
        self.connection.execute(_FORGET_CHUNKS, {"before": before})

    # --- events -----------------------------------------------------------------------------------

    def put_event(self, event: EventRow) -> None:
        row = {name: getattr(event, name) for name in EventRow.__dataclass_fields__}
        self.add("events", row)

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row, unless there is one with its key."""
        self._rows.setdefault(table, []).append(row)

    def add_new(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row; the transaction is repeated where another one has inserted its key."""
        self._new_rows.setdefault(table, []).append(row)

    def insert_if_missing(self, table: str, row: dict[str, Any]) -> bool:
        """Insert a row now. Return False where there is one with its key."""
        insert = _insert_missing(self._insert, table)
        key = tables.METADATA.tables[table].primary_key.columns
        return self.connection.execute(insert.returning(*key), row).first() is not None

    # --- checkpoints and alerts -------------------------------------------------------------------

    def meta(self, key: str) -> int | None:
        value: int | None = self.connection.execute(_META, {"name": key}).scalar()
        return value

    def put_meta(self, key: str, value: int) -> None:
        insert = self._insert(tables.META).values(key=key, value=value)
        self.connection.execute(
            insert.on_conflict_do_update(index_elements=["key"], set_={"value": value})
        )

    def changed_since(self, time: int) -> list[RunRecord]:
        """Load the runs whose status may have changed since a time."""
        return self._load(self.connection.execute(_CHANGED, {"time": time}).scalars())

    def retained_runs(self, after: tuple[int, str], since: int) -> list[RunRecord]:
        """Load a page of the runs that have not ended, or did ``since`` a time, by their change."""
        changed, id = tables.RUNS.c.changed, tables.RUNS.c.id
        page = (
            select(id)
            .where(
                (changed > after[0]) | ((changed == after[0]) & (id > after[1])),
                (tables.RUNS.c.phase != RunPhase.FINAL.value) | (changed >= since),
            )
            .order_by(changed, id)
            .limit(STATES_PAGE)
        )
        return self._load(self.connection.execute(page).scalars())

    def unnotified(self) -> list[tuple[RunRecord, frozenset[str]]]:
        """Load the runs with open alerts, and the channels that have delivered each so far."""
        alerts = {row.run_id: row.delivered for row in self.connection.execute(_UNNOTIFIED)}
        return [(run, frozenset((alerts[run.id] or "").split())) for run in self._load(alerts)]

    def mark_delivered(self, run_id: str, channels: Iterable[str]) -> None:
        """Record the channels over which an alert has been delivered so far."""
        alerts = tables.ALERTS
        delivered = update(alerts).where(alerts.c.run_id == run_id)
        self.connection.execute(delivered.values(delivered=" ".join(sorted(channels))))

    def mark_notified(self, run_ids: Iterable[str], now_us: int) -> None:
        alerts = tables.ALERTS
        delivered = update(alerts).where(alerts.c.run_id.in_(list(run_ids)))
        self.connection.execute(delivered.values(notified=now_us))

    # --- workers ----------------------------------------------------------------------------------

    def worker(self, name: str) -> WorkerRow | None:
        row = self.connection.execute(_WORKER, {"worker": name}).one_or_none()
        return None if row is None else WorkerRow(**row._mapping)

    def offers(self, since: int) -> dict[str, str | None]:
        """Read what the workers offer that are online, or have been after a time."""
        rows = self.connection.execute(_OFFERS, {"time": since})
        return {row.name: row.offers for row in rows}

    def put_worker(self, worker: WorkerRow) -> None:
        row = {name: getattr(worker, name) for name in WorkerRow.__dataclass_fields__}
        insert = self._insert(tables.WORKERS).values(row)
        statement = insert.on_conflict_do_update(index_elements=["name"], set_=row)
        self.connection.execute(statement)

    # --- writing ----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write the collected changes, without a commit, so that queries see them."""
        # Plans are among these rows, and have to exist before the orders that refer to them.
        for name, rows in self._rows.items():
            self.connection.execute(_insert_missing(self._insert, name), rows)
        for name, rows in self._new_rows.items():
            self.connection.execute(tables.METADATA.tables[name].insert(), rows)
        self._write(tables.ORDERS, _SET_ORDER, self._orders, order_row)
        self._write(tables.RUNS, _SET_RUN, self._runs, run_row)
        self._write_queues()
        self._rows, self._new_rows, self._queued, self._reserved = {}, {}, {}, []
        self._unfinished.clear()
        self._accepted.clear()

    def _write(
        self, table: Table, change: Any, records: _IdentityMap[T], row_of: Callable[[T], Any]
    ) -> None:
        if new := records.new:
            self.connection.execute(table.insert(), [row_of(record) for record in new])
        if changed := records.changed:
            self.connection.execute(change, [with_key(row_of(record)) for record in changed])
        records.mark_stored()

    def _write_queues(self) -> None:
        # Sorted, so that concurrent transactions hold the queues in the same order.
        for (project, priority), age in sorted(self._queued.items()):
            row = {"project": project, "priority": priority}
            row |= {"since": age, "rank": rank(priority, age)}
            self.connection.execute(_insert_missing(self._insert, "queues"), row)
            # Dropped by another transaction since the insertion: once more.
            while self.connection.execute(_HOLD_QUEUE, _key(project, priority)).first() is None:
                self.connection.execute(_insert_missing(self._insert, "queues"), row)


def _key(project: str, priority: int) -> dict[str, Any]:
    return {"p": project, "q": priority}


@functools.cache
def _insert_missing(insert: Callable[[Table], Any], table: str) -> Any:
    return insert(tables.METADATA.tables[table]).on_conflict_do_nothing()
