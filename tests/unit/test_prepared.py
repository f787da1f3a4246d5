"""Statements that the driver executes: values, lists, truth values and errors as SQLAlchemy's."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from msgspec.structs import replace
from sqlalchemy import bindparam, select, text
from sqlalchemy.exc import IntegrityError, ProgrammingError, StatementError

from tests.support.databases import memory_store
from worker.fleet import control
from worker.fleet.control.store import statements, tables
from worker.fleet.control.store.prepared import IsIn, Prepared
from worker.fleet.control.store.store import Store
from worker.fleet.control.store.transaction import WorkerRow

_WORKER = WorkerRow(
    name="w", incarnation="i", online=True, draining=False, capacity=2, version="1", since=5
)
_NAMES = Prepared(
    select(tables.WORKERS.c.name, tables.WORKERS.c.online)
    .where(IsIn(tables.WORKERS.c.name, "names"), tables.WORKERS.c.since < bindparam("time"))
    .order_by(tables.WORKERS.c.name)
)
_KEYS = Prepared(select(tables.TRIGGER_KEYS.c.key))
_OTHERS = Prepared(select(tables.WORKERS.c.name).where(~IsIn(tables.WORKERS.c.name, "names")))

# Tables that stay small, and the queues, of which the first in the order of an index are read.
_READ_WHOLE = {"queues", "pauses", "meta", "workers", "chunks"}


def _all_statements() -> dict[str, Prepared]:
    """Return the prepared statements of all modules of the control plane, by their names."""
    names = [
        each.name
        for each in pkgutil.walk_packages(control.__path__, f"{control.__name__}.")
        if ".migrations" not in each.name
    ]
    return {
        f"{name}.{attribute}": value
        for name in names
        for attribute, value in vars(importlib.import_module(name)).items()
        if isinstance(value, Prepared) and value is not statements.LOCK_CLAIMS
    }


def test_no_statement_reads_a_table_that_grows_from_its_beginning_to_its_end() -> None:
    with memory_store(Store) as store, store.read() as connection:
        grown = set(tables.METADATA.tables) - _READ_WHOLE
        cursor = connection.connection.cursor()
        for name, statement in _all_statements().items():
            text = statement._compile(connection.dialect).text
            if text.startswith("BEGIN"):
                continue
            values = [None] * text.count("?")
            plan = cursor.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
            read = {row[3].split()[1] for row in plan if row[3].startswith("SCAN ")}
            assert not read & grown, name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["w"], [("w", True)]),
        (["it's", 'a "b"', "w", "?", "%s"], [("it's", True), ("w", True)]),
    ],
)
def test_a_list_of_any_length_is_one_parameter(
    store: Store, names: list[str], expected: list[tuple[str, bool]]
) -> None:
    with store.transaction() as transaction:
        transaction.put_worker(_WORKER)
        transaction.put_worker(replace(_WORKER, name="it's"))
    with store.read() as connection:
        assert _NAMES.rows(connection, {"names": names, "time": 6}) == expected
        assert _NAMES.rows(connection, {"names": names, "time": 5}) == []
        others = {"it's", "w"} - {name for name, _ in expected}
        assert set(_OTHERS.column(connection, {"names": names})) == others
        assert _NAMES.value(connection, {"names": ["none"], "time": 6}) is None


@pytest.mark.parametrize("statement", ["ORDERS", "RUNS", "ANSWERED_CLAIMS"])
def test_a_list_is_looked_up_in_an_index(statement: str) -> None:
    # SQLite uses none for `(id IN ...) = 1`: each batch would read all runs there have ever been.
    with memory_store(Store) as store, store.read() as connection:
        compiled = getattr(statements, statement)._compile(connection.dialect)
        driver = connection.connection.driver_connection
        assert driver is not None
        plan = driver.execute(
            f"EXPLAIN QUERY PLAN {compiled.text}", compiled.parameters({"ids": ["a"]})
        )
        assert any(text.startswith(("SEARCH runs", "SEARCH orders")) for *_, text in plan)


def test_a_row_that_is_put_again_is_replaced(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.put_worker(_WORKER)
        transaction.put_worker(replace(_WORKER, online=False, offers="[]"))
    with store.transaction() as transaction:
        stored = transaction.worker("w")
    assert stored is not None
    assert (stored.online, stored.draining, stored.offers) == (False, False, "[]")


def test_errors_are_those_of_sqlalchemy(store: Store) -> None:
    row = {"trigger_id": "t", "key": "k", "order_id": "o", "expires": 1}
    insert = statements.insert("trigger_keys", tuple(row))
    with pytest.raises(IntegrityError), store.transaction() as transaction:
        insert.change_each(transaction.connection, [row, row])
    with pytest.raises(StatementError), store.read() as connection:
        Prepared(text("SELECT no_such_column FROM workers")).rows(connection)
    # The connection is usable, and nothing of the transaction is left.
    with store.read() as connection:
        assert _KEYS.rows(connection) == []


def test_a_statement_without_a_value_is_refused(store: Store) -> None:
    with pytest.raises((KeyError, ProgrammingError)), store.read() as connection:
        _NAMES.rows(connection, {"names": []})
