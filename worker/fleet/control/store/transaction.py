"""A transaction: an identity map of orders and runs, whose changes are written in few statements.

Orders and runs are locked when they are read (where the database has row locks). Changes are
collected and written together at the end.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, Table, delete, func, select, update

from worker.fleet.control.entities import (
    ProjectRecord,
    RunPhase,
    RunRecord,
    WorkOrder,
)
from worker.fleet.control.queue import BEFORE_ALL, ProjectQueue, QueuePlace, rank
from worker.fleet.control.store import statements as sql
from worker.fleet.control.store import tables
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.store.rows import (
    WORKER_COLUMNS,
    changed_values,
    check_order,
    check_run,
    order_of,
    order_row,
    run_of,
    run_row,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRun:
    """A run in a queue."""

    run_id: str
    workflow: str
    needs: str = ""


class EventRow(Struct, frozen=True, kw_only=True, gc=False):
    """A row of the events table. The event's dataclip is a row of its own, with the id ``clip``."""

    run_id: str
    attempt: int
    seq: int
    type: str
    clip: str | None
    body: str


class WorkerRow(Struct, frozen=True, kw_only=True, gc=False):
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


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint; ``behind_us`` is the time of the first states that wait to be published again.

    Times are in microseconds.
    """

    time_us: int
    behind_us: int | None = None

    @property
    def since_us(self) -> int:
        """The time since when states may be unpublished."""
        return self.time_us if self.behind_us is None else min(self.time_us, self.behind_us)


# An older version has one checkpoint for all, which has no id.
_CHECKPOINT, _BEHIND = "sure", "behind"


class _IdentityMap(Generic[T]):
    """The records of one table: as they were read, and with their changes."""

    def __init__(self) -> None:
        self.current: dict[str, T] = {}
        self._stored: dict[str, T] = {}
        self._absent: set[str] = set()
        # Those that were read without a lock, or are absent; not for changes.
        self._unlocked: dict[str, T | None] = {}
        # The ids of the records that are not stored as they are, in the order of their changes.
        self._unwritten: dict[str, None] = {}

    def start_loading(self, ids: Iterable[str]) -> list[str]:
        """Select the ids that were not read yet, and regard them as absent until they are."""
        unread = sorted(set(ids) - self.current.keys() - self._absent)
        self._absent.update(unread)
        return unread

    def loaded(self, id: str, record: T) -> None:
        self.current[id] = self._stored[id] = record

    def start_reading(self, ids: Iterable[str]) -> list[str]:
        """Select the ids that were not even read without a lock, and regard them as absent."""
        unread = sorted(set(ids) - self.current.keys() - self._absent - self._unlocked.keys())
        self._unlocked.update(dict.fromkeys(unread))
        return unread

    def was_read(self, id: str, record: T) -> None:
        self._unlocked[id] = record

    def readable(self, id: str) -> T | None:
        """Return a record as this transaction has it, or else as it was read without a lock."""
        record = self.current.get(id)
        return self._unlocked.get(id) if record is None else record

    def put(self, id: str, record: T) -> None:
        self.current[id] = record
        self._unwritten[id] = None

    @property
    def unwritten(self) -> list[tuple[T | None, T]]:
        """The records that are new or stored otherwise, each with the stored one before it."""
        return [(self._stored.get(id), self.current[id]) for id in self._unwritten]

    def mark_stored(self) -> None:
        self._stored.update((id, self.current[id]) for id in self._unwritten)
        self._unwritten.clear()


class Transaction:
    """The reads and pending writes of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._dialect = connection.dialect.name
        self._orders = _IdentityMap[WorkOrder]()
        self._runs = _IdentityMap[RunRecord]()
        self._plans: dict[str, str] = {}
        self._dataclips: dict[tuple[str, str], str] = {}
        self._projects: set[str] = set()
        self._is_reading = False
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._new_rows: dict[str, list[dict[str, Any]]] = {}
        # The queues of runs that are not written yet, each with the age of its oldest run.
        self._queued: dict[tuple[str, int], int] = {}
        self._reserved: list[str] = []
        # Changes of the counts that are not written yet: queries do not see them.
        self._unfinished: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()

    # --- orders and runs --------------------------------------------------------------------------

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Lock no order and no run meanwhile; what is read then must not be changed."""
        self._is_reading = True
        try:
            yield
        finally:
            self._is_reading = False

    def order(self, id: str) -> WorkOrder | None:
        self.load_orders([id])
        return self._orders.readable(id) if self._is_reading else self._orders.current.get(id)

    def run(self, id: str) -> RunRecord | None:
        self.load_runs([id])
        return self._runs.readable(id) if self._is_reading else self._runs.current.get(id)

    def load_orders(self, ids: Iterable[str]) -> None:
        """Read and lock the orders that were not read yet, in one query."""
        if self._is_reading:
            self._read(self._orders, sql.READ_ORDERS, order_of, ids)
        elif unread := self._orders.start_loading(ids):
            for row in sql.ORDERS.rows(self.connection, {"ids": unread}):
                order = order_of(row)
                self._orders.loaded(order.id, order)

    def load_runs(self, ids: Iterable[str]) -> None:
        """Read and lock the runs that were not read yet, in one query."""
        if self._is_reading:
            self._read(self._runs, sql.READ_RUNS, run_of, ids)
        elif unread := self._runs.start_loading(ids):
            for row in sql.RUNS.rows(self.connection, {"ids": unread}):
                run = run_of(row)
                self._runs.loaded(run.id, run)

    def _read(
        self,
        records: _IdentityMap[T],
        statement: Prepared,
        record_of: Callable[[Any], T],
        ids: Iterable[str],
    ) -> None:
        if unread := records.start_reading(ids):
            for row in statement.rows(self.connection, {"ids": unread}):
                records.was_read(row[0], record_of(row))

    def known_runs(self) -> list[RunRecord]:
        """List the runs that were read or added so far."""
        return list(self._runs.current.values())

    def put_order(self, order: WorkOrder) -> None:
        self._orders.put(order.id, order)

    def put_run(self, run: RunRecord) -> None:
        """Add or replace a run."""
        before = self._runs.current.get(run.id)
        self._runs.put(run.id, run)
        self._accepted[run.project] += before is None
        self._unfinished[run.project] += (run.phase is not RunPhase.FINAL) - (
            before is not None and before.phase is not RunPhase.FINAL
        )
        if run.phase is RunPhase.AVAILABLE:
            key = run.project, run.priority
            self._queued[key] = min(run.age, self._queued.get(key, run.age))

    # --- the queue --------------------------------------------------------------------------------

    def queues(self, most: int, after: QueuePlace = BEFORE_ALL) -> list[ProjectQueue]:
        """List the queues after a place in their order, some of them perhaps empty by now."""
        place = dict(zip(("rank", "since", "project"), after, strict=True))
        rows = sql.QUEUES.rows(self.connection, {"most": most, **place})
        return [
            ProjectQueue(project=project, priority=priority, since=since)
            for project, priority, since in rows
        ]

    def leases_by_project(self) -> Counter[str]:
        return Counter(dict(sql.LEASED.rows(self.connection)))

    def leases_by_workflow(self, project: str) -> Counter[str]:
        return Counter(dict(sql.LEASED_WORKFLOWS.rows(self.connection, {"name": project})))

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
        lists = {"full": list(full), "unmet": list(unmet), "reserved": self._reserved}
        rows = sql.WAITING.rows(self.connection, {**values, **lists})
        return [
            WaitingRun(run_id=run_id, workflow=workflow, needs=needs)
            for run_id, workflow, needs in rows
        ]

    def reserve(self, run_id: str) -> None:
        """Leave a run out of :meth:`waiting_runs` until its change is written."""
        self._reserved.append(run_id)

    def drop_if_empty(self, queue: ProjectQueue) -> None:
        """Delete a queue without runs, unless another transaction holds it."""
        key = _key(queue.project, queue.priority)
        # In two statements: the second sees what was committed before the lock.
        if self._locks_queue(key):
            sql.DROP_QUEUE.change(self.connection, key)

    def mark_served(self, queues: Iterable[ProjectQueue], now_us: int) -> None:
        """Let queues age anew, except those that another transaction holds."""
        for queue in sorted(queues):
            key = _key(queue.project, queue.priority)
            if self._locks_queue(key):
                place = {"now": now_us, "r": rank(queue.priority, now_us)}
                sql.SERVED.change(self.connection, {**key, **place})

    def _locks_queue(self, key: dict[str, Any]) -> bool:
        return sql.LOCK_QUEUE.value(self.connection, key) is not None

    def runs_of_claim(self, claim_id: str) -> list[RunRecord]:
        """Load the runs that were assigned to a claim."""
        return self._load(sql.CLAIMED.column(self.connection, {"claim": claim_id}))

    def lock_claims(self, claim_ids: Iterable[str]) -> list[str]:
        """Lock claims until the transaction ends; return those that no other transaction holds."""
        ids = sorted(claim_ids)
        # SQLite has one transaction at a time, so no other one holds a claim.
        if self._dialect == "sqlite":
            return ids
        return list(sql.LOCK_CLAIMS.column(self.connection, {"ids": ids}))

    def answered_claims(self, claim_ids: Sequence[str]) -> list[str]:
        """Select the claims that have runs."""
        return sql.ANSWERED_CLAIMS.column(self.connection, {"ids": list(claim_ids)})

    def expired_runs(self, now_us: int) -> list[RunRecord]:
        return self._load(sql.EXPIRED.column(self.connection, {"now_us": now_us}))

    def cap_leases(self, expires: int) -> None:
        """Let no lease end later than at a time."""
        runs = tables.RUNS
        later = (
            update(runs).where(sql.LEASED_RUNS, runs.c.expires > expires).values(expires=expires)
        )
        self.connection.execute(later)

    def leased_runs_of(self, worker: str) -> list[RunRecord]:
        return self._load(sql.OF_WORKER.column(self.connection, {"worker": worker}))

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
        unfinished = sql.COUNT_UNFINISHED.value(self.connection, values)
        accepted = sql.COUNT_ACCEPTED.value(self.connection, values)
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
            self._insert_missing("projects", [zero])
            sql.PROJECT.rows(self.connection, {"name": name})
            self._projects.add(name)

    def plan(self, id: str) -> str:
        """Return the text of a plan. Raises LookupError where there is none."""
        if id not in self._plans:
            rows = sql.PLAN.column(self.connection, {"plan": id})
            if not rows:
                raise LookupError(f"there is no plan {id}")
            self._plans[id] = rows[0]
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
        text: str | None = sql.DATACLIP.value(self.connection, key)
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
            head = sql.DATACLIP_HEAD.value(self.connection, key) or ""
        return head if len(head.encode()) <= max_bytes else None

    # --- chunks -----------------------------------------------------------------------------------

    def put_chunk(self, row: dict[str, Any]) -> None:
        self.add("chunks", row)

    def chunks(self, owner: str, hash: str) -> dict[int, bytes]:
        """Read the chunks of a content, by their offsets."""
        self.flush()
        return dict(sql.CHUNKS.rows(self.connection, {"o": owner, "h": hash}))

    def uploaded_bytes(self) -> int:
        """Sum the sizes of all contents whose chunks are stored."""
        self.flush()
        return int(sql.UPLOADED_BYTES.value(self.connection))

    def stored_chunks(self, owner: str, hash: str) -> tuple[int | None, int]:
        """Read the size that the first chunk of a content names, if any, and the stored bytes."""
        self.flush()
        [(stored, size)] = sql.STORED_CHUNKS.rows(self.connection, {"o": owner, "h": hash})
        return size, int(stored)

    def age_chunks(self, owner: str, hash: str, received: int) -> None:
        """Set the time from which on the chunks of a content age."""
        sql.AGE_CHUNKS.change(self.connection, {"o": owner, "h": hash, "time": received})

    def forget_uploads(self, before: int) -> None:
        """Delete the contents that have received no chunk since a time."""
        sql.FORGET_UPLOADS.change(self.connection, {"before": before})

    def forget_chunks(self, before: int) -> None:
        """Delete the chunks that were received before a time."""
        sql.FORGET_CHUNKS.change(self.connection, {"before": before})

    # --- events -----------------------------------------------------------------------------------

    def put_event(self, event: EventRow) -> None:
        self.add("events", asdict(event))

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row, unless there is one with its key."""
        self._rows.setdefault(table, []).append(row)

    def add_new(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row; the transaction is repeated where another one has inserted its key."""
        self._new_rows.setdefault(table, []).append(row)

    def insert_if_missing(self, table: str, row: dict[str, Any]) -> bool:
        """Insert a row now. Return False where there is one with its key."""
        insert = sql.insert_missing(self._dialect, table, tuple(row), returning=True)
        return bool(insert.rows(self.connection, row))

    # --- checkpoints and alerts -------------------------------------------------------------------

    def checkpoints(self) -> dict[str, StoredCheckpoint]:
        """Read the checkpoints of all control planes, by their ids."""
        values: dict[str, int] = dict(sql.CHECKPOINTS.rows(self.connection))
        behind = {
            key.removeprefix(_BEHIND): value
            for key, value in values.items()
            if key.startswith(_BEHIND)
        }
        times = {
            key.removeprefix(_CHECKPOINT): value
            for key, value in values.items()
            if key.startswith(_CHECKPOINT)
        }
        # An earlier version drops a checkpoint without the other time.
        return {
            id: StoredCheckpoint(time_us, behind.get(id))
            for id, time_us in {**behind, **times}.items()
        }

    def put_behind(self, id: str, time_us: int) -> None:
        """Store the time of the first states that a control plane has to publish again."""
        self._put("meta", {"key": _BEHIND + id, "value": time_us})

    def drop_behind(self, id: str) -> None:
        self._drop_meta([_BEHIND + id])

    def put_checkpoint(self, id: str, time_us: int) -> None:
        self._put("meta", {"key": _CHECKPOINT + id, "value": time_us})

    def keep_checkpoint(self, id: str, time_us: int) -> None:
        """Store a checkpoint, unless it is there; until the commit nobody else can drop it."""
        row = {"key": _CHECKPOINT + id, "value": time_us}
        sql.keep_meta(self._dialect).change(self.connection, row)

    def drop_checkpoints(self, ids: Iterable[str]) -> None:
        self._drop_meta([prefix + id for id in ids for prefix in (_CHECKPOINT, _BEHIND)])

    def _drop_meta(self, keys: Sequence[str]) -> None:
        self.connection.execute(delete(tables.META).where(tables.META.c.key.in_(keys)))

    def retained_runs(self, after: tuple[int, str], since: int, most: int) -> list[RunRecord]:
        """Load the first runs that have not ended, or did ``since`` a time, by their change."""
        final = max(after, (since, ""))
        values = {"changed": after[0], "id": after[1], "most": most}
        values |= {"final_changed": final[0], "final_id": final[1]}
        return self._load(sql.CHANGED.column(self.connection, values))

    def unnotified(self, most: int, channel: str = "") -> list[tuple[RunRecord, frozenset[str]]]:
        """Load the runs with the oldest open alerts, and the channels that have delivered each.

        With a channel: those that it has not delivered.
        """
        if channel:
            values = {"most": most, "delivered": f"% {channel} %"}
            rows = sql.UNDELIVERED.rows(self.connection, values)
        else:
            rows = sql.UNNOTIFIED.rows(self.connection, {"most": most})
        alerts: dict[str, str | None] = dict(rows)
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
        rows = sql.WORKER.rows(self.connection, {"worker": name})
        return WorkerRow(**dict(zip(WORKER_COLUMNS, rows[0], strict=True))) if rows else None

    def offers(self, since: int) -> dict[str, str | None]:
        """Read what the workers offer that are online, or have been after a time."""
        return dict(sql.OFFERS.rows(self.connection, {"time": since}))

    def put_worker(self, worker: WorkerRow) -> None:
        self._put("workers", asdict(worker))

    def record_contact(self, worker: str, incarnation: str, now_us: int) -> None:
        """Set the time at which an incarnation of a worker was heard of last."""
        values = {"worker": worker, "holder": incarnation, "time": now_us}
        sql.HEARD.change(self.connection, values)

    def _put(self, table: str, row: dict[str, Any]) -> None:
        sql.put(self._dialect, table, tuple(row)).change(self.connection, row)

    # --- writing ----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write the collected changes, without a commit, so that queries see them."""
        # Plans are among these rows, and have to exist before the orders that refer to them.
        for name, rows in self._rows.items():
            self._insert_missing(name, rows)
        for name, rows in self._new_rows.items():
            sql.insert(name, tuple(rows[0])).change_each(self.connection, rows)
        self._write(tables.ORDERS, self._orders, order_row, check_order)
        self._write(tables.RUNS, self._runs, run_row, check_run)
        self._write_queues()
        self._rows, self._new_rows, self._queued, self._reserved = {}, {}, {}, []
        self._unfinished.clear()
        self._accepted.clear()

    def _insert_missing(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        sql.insert_missing(self._dialect, table, tuple(rows[0])).change_each(self.connection, rows)

    def _write(
        self,
        table: Table,
        records: _IdentityMap[T],
        row_of: Callable[[T], Any],
        check: Callable[[T | None, T], None],
    ) -> None:
        if not (unwritten := records.unwritten):
            return
        for before, after in unwritten:
            check(before, after)
        if rows := [row_of(after) for before, after in unwritten if before is None]:
            sql.insert(table.name, tuple(rows[0])).change_each(self.connection, rows)
        changes: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for before, after in unwritten:
            if before is None:
                continue
            # A column that is written has its indexes written too, the same value or not.
            row = row_of(after)
            values = changed_values(row_of(before), row)
            changes.setdefault(tuple(values), []).append({"key": row["id"], **values})
        changes.pop((), None)
        for columns, rows in changes.items():
            sql.change(table.name, columns).change_each(self.connection, rows)
        records.mark_stored()

    def _write_queues(self) -> None:
        # Sorted, so that concurrent transactions hold the queues in the same order.
        for (project, priority), age in sorted(self._queued.items()):
            row = {"project": project, "priority": priority}
            row |= {"since": age, "rank": rank(priority, age)}
            self._insert_missing("queues", [row])
            # Dropped by another transaction since the insertion: once more.
            while sql.HOLD_QUEUE.value(self.connection, _key(project, priority)) is None:
                self._insert_missing("queues", [row])


def _key(project: str, priority: int) -> dict[str, Any]:
    return {"p": project, "q": priority}
