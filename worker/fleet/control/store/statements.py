"""The statements that transactions execute often."""

from __future__ import annotations

import functools
from typing import Any

from sqlalchemy import (
    Select,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from worker.fleet.control.entities import RunPhase
from worker.fleet.control.store import tables
from worker.fleet.control.store.prepared import IsIn, Prepared

# All transactions lock rows in the order of their ids, which avoids most deadlocks.
ORDERS = Prepared(
    select(tables.ORDERS)
    .where(IsIn(tables.ORDERS.c.id, "ids"))
    .order_by(tables.ORDERS.c.id)
    .with_for_update()
)
RUNS = Prepared(
    select(tables.RUNS)
    .where(IsIn(tables.RUNS.c.id, "ids"))
    .order_by(tables.RUNS.c.id)
    .with_for_update()
)
# For requests that read: with a lock they would wait for other control planes, and these for them.
READ_ORDERS = Prepared(select(tables.ORDERS).where(IsIn(tables.ORDERS.c.id, "ids")))
READ_RUNS = Prepared(select(tables.RUNS).where(IsIn(tables.RUNS.c.id, "ids")))
_PLACE = (tables.QUEUES.c.rank, tables.QUEUES.c.since, tables.QUEUES.c.project)
QUEUES = Prepared(
    select(tables.QUEUES.c.project, tables.QUEUES.c.priority, tables.QUEUES.c.since)
    .where(tuple_(*_PLACE) > tuple_(*(bindparam(each.name) for each in _PLACE)))
    .order_by(*_PLACE)
    .limit(bindparam("most"))
)
_QUEUE = (tables.QUEUES.c.project == bindparam("p")) & (tables.QUEUES.c.priority == bindparam("q"))
# Whoever adds a run holds its queue until the commit, so that nobody drops it as empty meanwhile.
HOLD_QUEUE = Prepared(select(tables.QUEUES.c.priority).where(_QUEUE).with_for_update(read=True))
LOCK_QUEUE = Prepared(
    select(tables.QUEUES.c.priority).where(_QUEUE).with_for_update(skip_locked=True)
)
SERVED = Prepared(
    update(tables.QUEUES).where(_QUEUE).values(since=bindparam("now"), rank=bindparam("r"))
)
_IN_QUEUE = (
    (tables.RUNS.c.phase == RunPhase.AVAILABLE.value)
    & (tables.RUNS.c.project == bindparam("p"))
    & (tables.RUNS.c.priority == bindparam("q"))
)
DROP_QUEUE = Prepared(
    delete(tables.QUEUES).where(_QUEUE, ~select(tables.RUNS.c.id).where(_IN_QUEUE).exists())
)
WAITING = Prepared(
    select(tables.RUNS.c.id, tables.RUNS.c.workflow, tables.RUNS.c.needs)
    .where(
        _IN_QUEUE,
        ~IsIn(tables.RUNS.c.needs, "unmet"),
        ~IsIn(tables.RUNS.c.workflow, "full"),
        ~IsIn(tables.RUNS.c.id, "reserved"),
    )
    .order_by(tables.RUNS.c.age)
    .limit(bindparam("count"))
    # Runs that another control plane is leasing or cancelling are not waited for.
    .with_for_update(skip_locked=True)
)
CLAIMED = Prepared(select(tables.RUNS.c.id).where(tables.RUNS.c.claim_id == bindparam("claim")))
# PostgreSQL alone: SQLite has one control plane.
LOCK_CLAIMS = Prepared(
    text(
        "SELECT claim FROM unnest(CAST(:ids AS text[])) AS claim"
        " WHERE pg_try_advisory_xact_lock(hashtextextended(claim, 0))"
    )
)
LEASED_RUNS = (tables.RUNS.c.phase == RunPhase.CLAIMED.value) | (
    tables.RUNS.c.phase == RunPhase.STARTED.value
)
# The limit keeps a tick short when many leases expire together; the next tick does the rest.
EXPIRED = Prepared(
    select(tables.RUNS.c.id)
    .where(LEASED_RUNS, tables.RUNS.c.expires <= bindparam("now_us"))
    .order_by(tables.RUNS.c.expires)
    .limit(500)
)
OF_WORKER = Prepared(
    select(tables.RUNS.c.id).where(LEASED_RUNS, tables.RUNS.c.worker == bindparam("worker"))
)
CHECKPOINTS = Prepared(
    select(tables.META.c.key, tables.META.c.value).where(
        or_(tables.META.c.key.like("sure%"), tables.META.c.key.like("behind%"))
    )
)


def _changed_after(phase: RunPhase) -> Select[Any]:
    place = (tables.RUNS.c.changed, tables.RUNS.c.id)
    after = ("final_changed", "final_id") if phase is RunPhase.FINAL else ("changed", "id")
    page = (
        select(*place)
        .where(
            tables.RUNS.c.phase == phase.value,
            tuple_(*place) > tuple_(*(bindparam(name) for name in after)),
        )
        .order_by(*place)
        .limit(bindparam("most"))
    )
    return select(page.subquery())


# A page of each phase, which an index has in order: most runs are final ones that expired long ago.
_CHANGED = union_all(*(_changed_after(phase) for phase in RunPhase)).subquery()
CHANGED = Prepared(
    select(_CHANGED.c.id).order_by(_CHANGED.c.changed, _CHANGED.c.id).limit(bindparam("most"))
)
_OPEN_ALERTS = (
    select(tables.ALERTS.c.run_id, tables.ALERTS.c.delivered)
    .where(tables.ALERTS.c.notified.is_(None))
    .order_by(tables.ALERTS.c.at)
    .limit(bindparam("most"))
)
UNNOTIFIED = Prepared(_OPEN_ALERTS)
_DELIVERED = literal_column("' '").concat(tables.ALERTS.c.delivered).concat(literal_column("' '"))
UNDELIVERED = Prepared(
    _OPEN_ALERTS.where(
        or_(tables.ALERTS.c.delivered.is_(None), _DELIVERED.not_like(bindparam("delivered")))
    )
)
WORKER = Prepared(select(tables.WORKERS).where(tables.WORKERS.c.name == bindparam("worker")))
# Alone: the rest of a row that was read may be another control plane's to change.
HEARD = Prepared(
    update(tables.WORKERS)
    .where(
        tables.WORKERS.c.name == bindparam("worker"),
        tables.WORKERS.c.incarnation == bindparam("holder"),
    )
    .values(heard=bindparam("time"))
)
OFFERS = Prepared(
    select(tables.WORKERS.c.name, tables.WORKERS.c.offers).where(
        tables.WORKERS.c.online | (tables.WORKERS.c.since > bindparam("time"))
    )
)
DATACLIP = Prepared(
    select(tables.DATACLIPS.c.text).where(
        tables.DATACLIPS.c.owner == bindparam("owner"),
        tables.DATACLIPS.c.id == bindparam("dataclip"),
    )
)
DATACLIP_HEAD = Prepared(
    select(func.substr(tables.DATACLIPS.c.text, 1, bindparam("characters"))).where(
        tables.DATACLIPS.c.owner == bindparam("owner"),
        tables.DATACLIPS.c.id == bindparam("dataclip"),
    )
)
_OF_CONTENT = (tables.CHUNKS.c.owner == bindparam("o")) & (tables.CHUNKS.c.hash == bindparam("h"))
CHUNKS = Prepared(select(tables.CHUNKS.c.place, tables.CHUNKS.c.data).where(_OF_CONTENT))
STORED_CHUNKS = Prepared(
    select(
        func.coalesce(func.sum(func.length(tables.CHUNKS.c.data)), 0).label("stored"),
        func.max(tables.CHUNKS.c.size).filter(tables.CHUNKS.c.place == 0).label("size"),
    ).where(_OF_CONTENT)
)
# Each unfinished content once: its first chunk names the size of the whole.
UPLOADED_BYTES = Prepared(
    select(func.coalesce(func.sum(tables.CHUNKS.c.size), 0)).where(tables.CHUNKS.c.place == 0)
)
AGE_CHUNKS = Prepared(update(tables.CHUNKS).where(_OF_CONTENT).values(received=bindparam("time")))
FORGET_CHUNKS = Prepared(
    delete(tables.CHUNKS).where(tables.CHUNKS.c.received < bindparam("before"))
)
_CONTENT = (tables.CHUNKS.c.owner, tables.CHUNKS.c.hash)
FORGET_UPLOADS = Prepared(
    delete(tables.CHUNKS).where(
        tuple_(*_CONTENT).in_(
            select(*_CONTENT)
            .group_by(*_CONTENT)
            .having(func.max(tables.CHUNKS.c.received) < bindparam("before"))
        )
    )
)
PLAN = Prepared(select(tables.PLANS.c.text).where(tables.PLANS.c.id == bindparam("plan")))
PROJECT = Prepared(
    select(tables.PROJECTS.c.name)
    .where(tables.PROJECTS.c.name == bindparam("name"))
    .with_for_update()
)
_ACCEPTED = (
    select(tables.RUNS.c.id)
    .where(tables.RUNS.c.project == bindparam("name"), tables.RUNS.c.created > bindparam("since"))
    .limit(bindparam("most"))
)
COUNT_ACCEPTED = Prepared(select(func.count()).select_from(_ACCEPTED.subquery()))
_UNFINISHED = (
    select(tables.RUNS.c.id)
    .where(
        or_(*(tables.RUNS.c.phase == phase.value for phase in RunPhase if phase != RunPhase.FINAL)),
        tables.RUNS.c.project == bindparam("name"),
    )
    .limit(bindparam("most"))
)
COUNT_UNFINISHED = Prepared(select(func.count()).select_from(_UNFINISHED.subquery()))
LEASED = Prepared(
    select(tables.RUNS.c.project, func.count()).where(LEASED_RUNS).group_by(tables.RUNS.c.project)
)
LEASED_WORKFLOWS = Prepared(
    select(tables.RUNS.c.workflow, func.count())
    .where(LEASED_RUNS, tables.RUNS.c.project == bindparam("name"))
    .group_by(tables.RUNS.c.workflow)
)
ANSWERED_CLAIMS = Prepared(
    select(tables.RUNS.c.claim_id).where(IsIn(tables.RUNS.c.claim_id, "ids")).distinct()
)
_INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@functools.cache
def insert(table: str, columns: tuple[str, ...]) -> Prepared:
    """Return the statement that inserts rows with some columns."""
    return Prepared(tables.METADATA.tables[table].insert(), columns)


@functools.cache
def insert_missing(
    dialect: str, table: str, columns: tuple[str, ...], *, returning: bool = False
) -> Prepared:
    """Return the statement that inserts a row, unless there is one with its key."""
    target = tables.METADATA.tables[table]
    statement = _INSERTS[dialect](target).on_conflict_do_nothing()
    keys = target.primary_key.columns
    return Prepared(statement.returning(*keys) if returning else statement, columns)


@functools.cache
def put(dialect: str, table: str, columns: tuple[str, ...]) -> Prepared:
    """Return the statement that inserts a row, or replaces the one with its key."""
    target = tables.METADATA.tables[table]
    statement = _INSERTS[dialect](target)
    keys = [column.name for column in target.primary_key.columns]
    values = {name: statement.excluded[name] for name in columns if name not in keys}
    return Prepared(
        statement.on_conflict_do_update(index_elements=keys, set_=values),
        columns,
    )


@functools.cache
def keep_meta(dialect: str) -> Prepared:
    """Return the statement that inserts a value, or locks the one with its key as it is."""
    statement = _INSERTS[dialect](tables.META)
    return Prepared(
        statement.on_conflict_do_update(
            index_elements=["key"], set_={"value": tables.META.c.value}
        ),
        ("key", "value"),
    )


@functools.cache
def change(table: str, columns: tuple[str, ...]) -> Prepared:
    """Return the statement that sets some columns of the order or run with the id ``key``."""
    target = tables.METADATA.tables[table]
    statement = update(target).where(target.c.id == bindparam("key"))
    if target is tables.RUNS:
        # A second line of defence: a final run never changes, even if the lifecycle has a defect.
        statement = statement.where(tables.RUNS.c.phase != RunPhase.FINAL.value)
    return Prepared(statement, columns)
