"""A database of a control plane with very many orders, written with statements for many rows.

Each ended order has one run, with the events and the state that a run of one step leaves.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, Table, create_engine, make_url, select, text

from bench.fleet_messages import TOPICS, from_worker, report, submit
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.queue import rank
from worker.fleet.control.store import tables
from worker.fleet.control.store.store import Store
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.worker_protocol import PROTOCOL, Assignment, Claim

PROJECTS, WORKFLOWS = 100, 10
DAYS = 30
_DAY_US = 86_400_000_000
# One in so many ended orders has failed, and one in so many is lost, with an alert.
FAILED, LOST = 20, 1000
_STATUS = (
    f"CASE WHEN i % {LOST} = 0 THEN 'lost' WHEN i % {FAILED} = 0 THEN 'failed' ELSE 'success' END"
)
# As random as the ids of clients: an index gets its entries in no order.
_ID = {
    "sqlite": "printf('%s%08x%08x', {kind}, (i * 2654435761) % 4294967296, i)",
    "postgresql": "{kind} || md5(i::text)",
}


def fill(url: str, *, ended: int, queued: int, now_us: int) -> None:
    """Create the tables of an empty database, and the orders."""
    store = Store(url)
    store.migrate()
    _add_templates(store, now_us)
    store.close()
    engine = _engine(url)
    with engine.begin() as connection:
        indexes = [index for table in _FILLED for index in table.indexes]
        for index in indexes:
            index.drop(connection)
        _copy_ended(connection, ended, now_us)
        _copy_queued(connection, queued, now_us)
        for index in indexes:
            index.create(connection)
    _collect_statistics(engine)
    engine.dispose()


_FILLED = (tables.ORDERS, tables.RUNS, tables.EVENTS, tables.DATACLIPS, tables.ALERTS)


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return create_engine(parsed)


def _collect_statistics(engine: Engine) -> None:
    # As the autovacuum of PostgreSQL does; a control plane leaves SQLite without statistics.
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


# --- templates ------------------------------------------------------------------------------------


def _add_templates(store: Store, now_us: int) -> None:
    """Add the order ``queued``, and the order ``ended`` that a worker has executed."""
    plane = MessageProcessor(store, topics=TOPICS)
    plane.on_connected(now_us)
    plane.process([submit("ended")], now_us)
    claim = Claim(claim_id="c", demand=1, incarnation="i", protocol=PROTOCOL)
    outgoing = plane.process([from_worker("claim", claim)], now_us)
    [answer] = [each for each in outgoing.messages if each.topic.endswith("/rsp")]
    [run] = wire.decode(Assignment, answer.payload).runs
    outgoing = plane.process([report(run.lease), submit("queued")], now_us)
    assert not outgoing.refusals, outgoing.refusals


# --- copies ---------------------------------------------------------------------------------------


def _copy_ended(connection: Connection, count: int, now_us: int) -> None:
    created = f"{now_us - DAYS * _DAY_US} + i * {DAYS * _DAY_US // max(1, count)}"
    order_id, run_id = _id(connection, "'o'"), _id(connection, "'r'")
    shared = {"project": _numbered("p", PROJECTS), "workflow": _numbered("w", WORKFLOWS)}
    times = {"created": created, "status": _STATUS}
    order = {
        **shared,
        **times,
        "id": order_id,
        "last_run": run_id,
        "input": f"{order_id} || '/input'",
    }
    order["tags"] = "CASE WHEN i % 10 = 0 THEN ' a b ' ELSE '' END"
    run = {**shared, **times, "id": run_id, "order_id": order_id, "input": order["input"]}
    run |= {"age": created, "started": created, "changed": f"{created} + 1000000"}
    run |= {"finished": run["changed"], "assigned": created}
    _copy(connection, tables.ORDERS, "id = 'ended'", order, count)
    template = connection.execute(
        select(tables.ORDERS.c.last_run).where(tables.ORDERS.c.id == "ended")
    )
    of_run = template.scalar_one()
    _copy(connection, tables.RUNS, f"id = '{of_run}'", run, count)
    _copy(connection, tables.EVENTS, f"run_id = '{of_run}'", {"run_id": run_id}, count)
    _copy(connection, tables.DATACLIPS, f"owner = '{of_run}'", {"owner": run_id}, count)
    _copy(connection, tables.DATACLIPS, "owner = 'ended'", {"owner": order_id}, count)
    connection.execute(text(
        f"INSERT INTO alerts (run_id, at, notified) {_numbers(count)}"
        f" SELECT {run_id}, {created}, {created} FROM n WHERE i % {LOST} = 0"
    ))  # fmt: skip


def _copy_queued(connection: Connection, count: int, now_us: int) -> None:
    created = f"{now_us - _DAY_US // 24} + i * 1000"
    order_id, run_id = _id(connection, "'qo'"), _id(connection, "'qr'")
    shared = {"project": _numbered("p", PROJECTS), "workflow": _numbered("w", WORKFLOWS),
              "created": created, "priority": "i % 3"}  # fmt: skip
    order = {**shared, "id": order_id, "last_run": run_id}
    run = {**shared, "id": run_id, "order_id": order_id, "age": created, "changed": created}
    last = select(tables.ORDERS.c.last_run).where(tables.ORDERS.c.id == "queued")
    template = connection.execute(last).scalar_one()
    _copy(connection, tables.ORDERS, "id = 'queued'", order, count)
    _copy(connection, tables.RUNS, f"id = '{template}'", run, count)
    queues = [
        {
            "project": f"p{project}",
            "priority": priority,
            "since": now_us,
            "rank": rank(priority, now_us),
        }
        for project in range(PROJECTS)
        for priority in range(3)
    ]
    connection.execute(tables.QUEUES.insert(), queues)


def _copy(
    connection: Connection, table: Table, template: str, changes: dict[str, str], count: int
) -> None:
    """Insert copies of the rows that a condition selects, numbered ``i``, with some changes."""
    names = [column.name for column in table.columns]
    values = ", ".join(changes.get(name, f"t.{name}") for name in names)
    connection.execute(text(
        f"INSERT INTO {table.name} ({', '.join(names)}) {_numbers(count)} SELECT {values}"
        f" FROM n CROSS JOIN (SELECT * FROM {table.name} WHERE {template}) AS t"
    ))  # fmt: skip


def _numbers(count: int) -> str:
    return (
        "WITH RECURSIVE n(i) AS (SELECT CAST(0 AS bigint) UNION ALL "
        f"SELECT i + 1 FROM n WHERE i + 1 < {count})"
    )


def _numbered(prefix: str, count: int) -> str:
    return f"'{prefix}' || (i % {count})"


def _id(connection: Connection, kind: str) -> str:
    return _ID[connection.dialect.name].format(kind=kind)
