"""One transaction: what is read in it, what is to be written, and the writing, in few statements.

What is read of orders and runs is locked (where the database has such locks) and stays the one copy
of the transaction; changes are collected and written together at its end. The counts of lanes
follow from the changes of runs.
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
from worker.fleet.control.queue import Waiting
from worker.fleet.control.store import tables
from worker.fleet.control.store.rows import keyed, order_of, order_row, run_of, run_row

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
# A final run never changes, whatever the code above believes.
_SET_RUN = update(tables.RUNS).where(
    tables.RUNS.c.id == bindparam("key"), tables.RUNS.c.phase != RunPhase.FINAL.value
)
LANES_AT_ONCE = 200
"""How many workflows with waiting runs are looked at for a batch: those first of which the fewest
runs go. Beyond that, a priority counts among them alone."""
_LANES = (
    select(tables.LANES)
    .where(tables.LANES.c.available > 0)
    .order_by(tables.LANES.c.leased, tables.LANES.c.project, tables.LANES.c.workflow)
    .limit(LANES_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_LEASED = select(tables.LANES.c.project, func.sum(tables.LANES.c.leased)).group_by(
    tables.LANES.c.project
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
_EXPIRED = (
    select(tables.RUNS.c.id)
    .where(_LEASES, tables.RUNS.c.expires <= bindparam("now"))
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
_CLIP = select(tables.CLIPS.c.text).where(
    tables.CLIPS.c.owner == bindparam("owner"), tables.CLIPS.c.id == bindparam("clip")
)
_PLAN = select(tables.PLANS.c.text).where(tables.PLANS.c.id == bindparam("plan"))
_PROJECT = select(tables.PROJECTS).where(tables.PROJECTS.c.name == bindparam("name"))
_UNFINISHED = select(func.sum(tables.LANES.c.available + tables.LANES.c.leased)).where(
    tables.LANES.c.project == bindparam("name")
)


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event as it is kept: its dataclip stands apart, under the id ``clip``."""

    run_id: str
    attempt: int
    seq: int
    type: str
    clip: str | None
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker, as it last said."""

    name: str
    incarnation: str
    online: bool
    draining: bool
    capacity: int
    version: str
    since: int


class _IdentityMap(Generic[T]):
    """Rows of one table: as they were read, and as they are to be."""

    def __init__(self) -> None:
        self.now: dict[str, T] = {}
        self._was: dict[str, T] = {}
        self._absent: set[str] = set()

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those that were not looked for yet; they are, from now on."""
        found = sorted(set(ids) - self.now.keys() - self._absent)
        self._absent.update(found)
        return found

    def read(self, id: str, row: T) -> None:
        self.now[id] = self._was[id] = row

    @property
    def fresh(self) -> list[T]:
        return [row for id, row in self.now.items() if id not in self._was]

    @property
    def changed(self) -> list[T]:
        return [row for id, row in self.now.items() if self._was.get(id, row) is not row]

    def settle(self) -> None:
        """What is, is written."""
        self._was = dict(self.now)


class Transaction:
    """What one transaction reads and will write."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._insert = (
            postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        )
        self._orders = _IdentityMap[WorkOrder]()
        self._runs = _IdentityMap[RunRecord]()
        self._plans: dict[str, str] = {}
        self._clips: dict[tuple[str, str], str] = {}
        self._projects: dict[str, ProjectRecord] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._lanes: dict[tuple[str, str], list[int]] = {}
        self._unfinished: Counter[str] = Counter()

    # --- orders and runs --------------------------------------------------------------------------

    def order(self, id: str) -> WorkOrder | None:
        self.load_orders([id])
        return self._orders.now.get(id)

    def run(self, id: str) -> RunRecord | None:
        self.load_runs([id])
        return self._runs.now.get(id)

    def load_orders(self, ids: Iterable[str]) -> None:
        """Read those that were not read yet, in one go."""
        if missing := self._orders.missing(ids):
            for row in self.connection.execute(_ORDERS, {"ids": missing}).mappings():
                self._orders.read(row["id"], order_of(row))

    def load_runs(self, ids: Iterable[str]) -> None:
        """Read those that were not read yet, in one go."""
        if missing := self._runs.missing(ids):
            for row in self.connection.execute(_RUNS, {"ids": missing}).mappings():
                self._runs.read(row["id"], run_of(row))

    def known_runs(self) -> list[RunRecord]:
        """The runs that were read or made so far."""
        return list(self._runs.now.values())

    def known_run(self, id: str) -> RunRecord | None:
        """A run, if it was read or made already."""
        return self._runs.now.get(id)

    def put_order(self, order: WorkOrder) -> None:
        self._orders.now[order.id] = order

    def put_run(self, run: RunRecord) -> None:
        """Note a run's new values, and count it in its lane."""
        was = self._runs.now.get(run.id)
        self._runs.now[run.id] = run
        self._count(run, was)

    def _count(self, run: RunRecord, was: RunRecord | None) -> None:
        available = (run.phase is RunPhase.AVAILABLE) - (
            was is not None and was.phase is RunPhase.AVAILABLE
        )
        leased = run.leased - (was is not None and was.leased)
        if available or leased:
            counts = self._lanes.setdefault((run.project, run.workflow), [0, 0])
            counts[0] += available
            counts[1] += leased
            self._unfinished[run.project] += available + leased

    # --- the queue --------------------------------------------------------------------------------

    def lanes(self) -> list[QueuePartition]:
        """The lanes in which runs wait, less those that another control plane works on."""
        return [QueuePartition(**row._mapping) for row in self.connection.execute(_LANES)]

    def leased(self) -> Counter[str]:
        """How many runs of each project are leased."""
        return Counter({name: int(count) for name, count in self.connection.execute(_LEASED)})

    def waiting(self, lane: QueuePartition, count: int) -> list[Waiting]:
        """The first runs of a lane, in the order in which they go."""
        given = {"project": lane.project, "workflow": lane.workflow, "count": count}
        return [
            Waiting(run_id=row.id, priority=row.priority, age=row.age)
            for row in self.connection.execute(_WAITING, given)
        ]

    def claimed(self, claim_id: str) -> list[RunRecord]:
        """The runs that a claim was given, as they are now."""
        return self._found(self.connection.execute(_CLAIMED, {"claim": claim_id}).scalars())

    def expired(self, now: int) -> list[RunRecord]:
        return self._found(self.connection.execute(_EXPIRED, {"now": now}).scalars())

    def of_worker(self, worker: str) -> list[RunRecord]:
        """The runs that a worker has leases of."""
        return self._found(self.connection.execute(_OF_WORKER, {"worker": worker}).scalars())

    def _found(self, ids: Iterable[str]) -> list[RunRecord]:
        listed = list(ids)
        self.load_runs(listed)
        return [self._runs.now[id] for id in listed]

    # --- projects, plans, dataclips ---------------------------------------------------------------

    def project(self, name: str) -> ProjectRecord:
        """The project, held until the end of the transaction."""
        if name not in self._projects:
            fresh = {"name": name, "period_began": 0, "accepted": 0}
            table = tables.PROJECTS
            self.connection.execute(self._insert(table).values(fresh).on_conflict_do_nothing())
            row = self.connection.execute(_PROJECT.with_for_update(), {"name": name}).one()
            self._projects[name] = ProjectRecord(**row._mapping)
        unfinished = self.connection.execute(_UNFINISHED, {"name": name}).scalar() or 0
        known = self._projects[name]
        return ProjectRecord(
            name=name,
            unfinished=int(unfinished) + self._unfinished[name],
            period_began=known.period_began,
            accepted=known.accepted,
        )

    def put_project(self, project: ProjectRecord) -> None:
        self._projects[project.name] = project

    def plan(self, id: str) -> str:
        if id not in self._plans:
            self._plans[id] = self.connection.execute(_PLAN, {"plan": id}).scalar_one()
        return self._plans[id]

    def put_plan(self, id: str, text: str) -> None:
        if id in self._plans:
            return
        self._plans[id] = text
        self.add("plans", {"id": id, "text": text})

    def clip(self, owner: str, id: str) -> str | None:
        if (owner, id) in self._clips:
            return self._clips[owner, id]
        found: str | None = self.connection.execute(_CLIP, {"owner": owner, "clip": id}).scalar()
        return found

    def put_clip(self, owner: str, id: str, text: str) -> None:
        self._clips[owner, id] = text
        self.add("clips", {"owner": owner, "id": id, "text": text})

    def put_event(self, event: EventRow) -> None:
        row = {name: getattr(event, name) for name in EventRow.__dataclass_fields__}
        self.add("events", row)

    def add(self, table: str, row: dict[str, Any]) -> None:
        """A row to insert, if there is none yet with its key."""
        self._rows.setdefault(table, []).append(row)

    # --- what may not have been said --------------------------------------------------------------

    def meta(self, key: str) -> int | None:
        found: int | None = self.connection.execute(_META, {"name": key}).scalar()
        return found

    def put_meta(self, key: str, value: int) -> None:
        insert = self._insert(tables.META).values(key=key, value=value)
        self.connection.execute(
            insert.on_conflict_do_update(index_elements=["key"], set_={"value": value})
        )

    def changed_since(self, time: int) -> list[RunRecord]:
        """The runs whose status may have changed since then."""
        return self._found(self.connection.execute(_CHANGED, {"time": time}).scalars())

    def unnotified(self) -> list[RunRecord]:
        """The runs of which the superuser was not told yet."""
        return self._found(self.connection.execute(_UNNOTIFIED).scalars())

    def mark_notified(self, run_ids: Iterable[str], now: int) -> None:
        alerts = tables.ALERTS
        told = update(alerts).where(alerts.c.run_id.in_(list(run_ids)))
        self.connection.execute(told.values(notified=now))

    # --- workers ----------------------------------------------------------------------------------

    def worker(self, name: str) -> WorkerRow | None:
        row = self.connection.execute(_WORKER, {"worker": name}).one_or_none()
        return None if row is None else WorkerRow(**row._mapping)

    def put_worker(self, worker: WorkerRow) -> None:
        """Keep who is there. ``since`` is when it came, or went."""
        row = {name: getattr(worker, name) for name in WorkerRow.__dataclass_fields__}
        insert = self._insert(tables.WORKERS).values(row)
        statement = insert.on_conflict_do_update(index_elements=["name"], set_=row)
        self.connection.execute(statement)

    # --- writing ----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was collected, so that queries see it; it is not committed yet."""
        # Plans stand here, and have to be there before the orders that refer to them.
        for name, rows in self._rows.items():
            self.connection.execute(_insert_missing(self._insert, name), rows)
        self._write(tables.ORDERS, _SET_ORDER, self._orders, order_row)
        self._write(tables.RUNS, _SET_RUN, self._runs, run_row)
        self._write_lanes()
        self._write_projects()
        self._rows, self._lanes = {}, {}
        self._unfinished.clear()

    def _write(
        self, table: Table, change: Any, held: _IdentityMap[T], row_of: Callable[[T], Any]
    ) -> None:
        if fresh := held.fresh:
            self.connection.execute(table.insert(), [row_of(one) for one in fresh])
        if changed := held.changed:
            self.connection.execute(change, [keyed(row_of(one)) for one in changed])
        held.settle()

    def _write_lanes(self) -> None:
        rows = [
            {"project": project, "workflow": workflow, "available": available, "leased": leased}
            for (project, workflow), (available, leased) in sorted(self._lanes.items())
            if available or leased
        ]
        if rows:
            self.connection.execute(_add_to_lanes(self._insert), rows)

    def _write_projects(self) -> None:
        for project in self._projects.values():
            self.connection.execute(
                update(tables.PROJECTS)
                .where(tables.PROJECTS.c.name == project.name)
                .values(period_began=project.period_began, accepted=project.accepted)
            )


@functools.cache
def _insert_missing(insert: Callable[[Table], Any], table: str) -> Any:
    return insert(tables.METADATA.tables[table]).on_conflict_do_nothing()


@functools.cache
def _add_to_lanes(insert: Callable[[Table], Any]) -> Any:
    lanes = tables.LANES.c
    statement = insert(tables.LANES)
    return statement.on_conflict_do_update(
        index_elements=["project", "workflow"],
        set_={
            "available": lanes.available + statement.excluded.available,
            "leased": lanes.leased + statement.excluded.leased,
        },
    )
