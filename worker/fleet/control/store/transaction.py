"""A transaction: an identity map of orders and runs, whose changes are written in few statements.

Orders and runs are locked when they are read (where the database has row locks). Changes are
collected and written together at the end. The counters of partitions follow from changes of runs.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Table, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.fleet.control.entities import (
    ProjectRecord,
    QueuePartition,
    RunPhase,
    RunRecord,
    WorkOrder,
)
from worker.fleet.control.queue import WaitingRun
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
MAX_PARTITIONS = 200
"""The most partitions that a batch reads, those with the fewest leased runs first."""
# Beyond that number, priorities are compared within these partitions alone. The bound keeps the
# time of a batch constant, however many workflows have waiting runs.
_PARTITIONS = (
    select(tables.PARTITIONS)
    .where(tables.PARTITIONS.c.available > 0)
    .order_by(tables.PARTITIONS.c.leased, tables.PARTITIONS.c.project, tables.PARTITIONS.c.workflow)
    .limit(MAX_PARTITIONS)
    .with_for_update(skip_locked=True)
)
_LEASED = select(tables.PARTITIONS.c.project, func.sum(tables.PARTITIONS.c.leased)).group_by(
    tables.PARTITIONS.c.project
)
_WAITING = (
    select(tables.RUNS.c.id, tables.RUNS.c.priority, tables.RUNS.c.age)
    .where(
        tables.RUNS.c.phase == RunPhase.AVAILABLE.value,
        tables.RUNS.c.project == bindparam("project"),
        tables.RUNS.c.workflow == bindparam("workflow"),
    )
    .order_by(tables.RUNS.c.priority.desc(), tables.RUNS.c.age)
    .limit(bindparam("count"))
)
_CLAIMED = select(tables.RUNS.c.id).where(tables.RUNS.c.claim_id == bindparam("claim"))
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
_CHANGED = select(tables.RUNS.c.id).where(
    (tables.RUNS.c.created >= bindparam("time"))
    | (tables.RUNS.c.started >= bindparam("time"))
    | (tables.RUNS.c.finished >= bindparam("time"))
)
_UNNOTIFIED = select(tables.ALERTS.c.run_id).where(tables.ALERTS.c.notified.is_(None))
_WORKER = select(tables.WORKERS).where(tables.WORKERS.c.name == bindparam("worker"))
_DATACLIP = select(tables.DATACLIPS.c.text).where(
    tables.DATACLIPS.c.owner == bindparam("owner"), tables.DATACLIPS.c.id == bindparam("dataclip")
)
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
_UNFINISHED = select(func.sum(tables.PARTITIONS.c.available + tables.PARTITIONS.c.leased)).where(
    tables.PARTITIONS.c.project == bindparam("name")
)


T = TypeVar("T")


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
        self._partitions: dict[tuple[str, str], list[int]] = {}
        # Changes of the counters that are not written yet: queries do not see them.
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
        """Add or replace a run, and update the counters of its partition."""
        before = self._runs.current.get(run.id)
        self._runs.current[run.id] = run
        self._accepted[run.project] += before is None
        self._count(run, before)

    def _count(self, run: RunRecord, before: RunRecord | None) -> None:
        available = (run.phase is RunPhase.AVAILABLE) - (
            before is not None and before.phase is RunPhase.AVAILABLE
        )
        leased = run.leased - (before is not None and before.leased)
        if available or leased:
            counts = self._partitions.setdefault((run.project, run.workflow), [0, 0])
            counts[0] += available
            counts[1] += leased
            self._unfinished[run.project] += available + leased

    # --- the queue --------------------------------------------------------------------------------

    def partitions(self) -> list[QueuePartition]:
        """Lock and list partitions with waiting runs, except those locked by others."""
        return [QueuePartition(**row._mapping) for row in self.connection.execute(_PARTITIONS)]

    def leases_by_project(self) -> Counter[str]:
        return Counter({name: int(count) for name, count in self.connection.execute(_LEASED)})

    def waiting_runs(self, partition: QueuePartition, count: int) -> list[WaitingRun]:
        """List the first runs of a partition, in queue order."""
        values = {"project": partition.project, "workflow": partition.workflow, "count": count}
        return [
            WaitingRun(run_id=row.id, priority=row.priority, age=row.age)
            for row in self.connection.execute(_WAITING, values)
        ]

    def runs_of_claim(self, claim_id: str) -> list[RunRecord]:
        """Load the runs that were assigned to a claim."""
        return self._load(self.connection.execute(_CLAIMED, {"claim": claim_id}).scalars())

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
        """Lock a project until the transaction ends, and return its counts.

        Runs are counted as accepted that were created after ``since``, up to ``most``.
        """
        if name not in self._projects:
            # Inserted first, because a row that does not exist cannot be locked.
            zero = {"name": name, "period_began": 0, "accepted": 0}
            table = tables.PROJECTS
            self.connection.execute(self._insert(table).values(zero).on_conflict_do_nothing())
            self.connection.execute(_PROJECT, {"name": name})
            self._projects.add(name)
        values = {"name": name, "since": since, "most": most}
        unfinished = self.connection.execute(_UNFINISHED, values).scalar() or 0
        accepted = self.connection.execute(_COUNT_ACCEPTED, values).scalar_one() if most else 0
        return ProjectRecord(
            name=name,
            unfinished=int(unfinished) + self._unfinished[name],
            accepted=int(accepted) + self._accepted[name],
        )

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

    def put_event(self, event: EventRow) -> None:
        row = {name: getattr(event, name) for name in EventRow.__dataclass_fields__}
        self.add("events", row)

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Insert a row, unless there is one with its key."""
        self._rows.setdefault(table, []).append(row)

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

    def unnotified(self) -> list[RunRecord]:
        """Load the runs whose alerts were not delivered yet."""
        return self._load(self.connection.execute(_UNNOTIFIED).scalars())

    def mark_notified(self, run_ids: Iterable[str], now_us: int) -> None:
        alerts = tables.ALERTS
        delivered = update(alerts).where(alerts.c.run_id.in_(list(run_ids)))
        self.connection.execute(delivered.values(notified=now_us))

    # --- workers ----------------------------------------------------------------------------------

    def worker(self, name: str) -> WorkerRow | None:
        row = self.connection.execute(_WORKER, {"worker": name}).one_or_none()
        return None if row is None else WorkerRow(**row._mapping)

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
        self._write(tables.ORDERS, _SET_ORDER, self._orders, order_row)
        self._write(tables.RUNS, _SET_RUN, self._runs, run_row)
        self._write_partitions()
        self._rows, self._partitions = {}, {}
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

    def _write_partitions(self) -> None:
        # Sorted, so that concurrent transactions lock the counters in the same order.
        rows = [
            {"project": project, "workflow": workflow, "available": available, "leased": leased}
            for (project, workflow), (available, leased) in sorted(self._partitions.items())
            if available or leased
        ]
        if rows:
            self.connection.execute(_add_to_partitions(self._insert), rows)


@functools.cache
def _insert_missing(insert: Callable[[Table], Any], table: str) -> Any:
    return insert(tables.METADATA.tables[table]).on_conflict_do_nothing()


@functools.cache
def _add_to_partitions(insert: Callable[[Table], Any]) -> Any:
    counters = tables.PARTITIONS.c
    statement = insert(tables.PARTITIONS)
    return statement.on_conflict_do_update(
        index_elements=["project", "workflow"],
        set_={
            "available": counters.available + statement.excluded.available,
            "leased": counters.leased + statement.excluded.leased,
        },
    )
