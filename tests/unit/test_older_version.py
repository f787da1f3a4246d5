"""What version 0.1.0 wrote: a database, an outbox, a journal. They are migrated, or read.

``tests/data/version-0.1.0`` was written by that version's own code.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from click.testing import CliRunner
from sqlalchemy import Boolean, Connection, MetaData, create_engine, insert, inspect, select, text

from tests.support.control_plane_harness import (
    REGISTRY,
    ControlPlaneHarness,
    FakeWorker,
    event,
    violations,
)
from tests.support.databases import Postgres
from worker.cli.main import cli
from worker.fleet.control.store import migrations
from worker.fleet.control.store.store import Store
from worker.fleet.worker.outbox import Outbox

FIRST_MIXED = "0014"
"""The tables of the first version whose control planes mix with those of the next."""
OLD = Path(__file__).parents[1] / "data" / "version-0.1.0"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "orders.db"
    connection = sqlite3.connect(path)
    connection.executescript((OLD / "orders.sql").read_text("utf-8"))
    connection.close()
    return path


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "outbox", tmp_path / "outbox"))


def migrated(database: Path) -> Store:
    result = CliRunner().invoke(
        cli, ["control-plane", "--migrate", "--store", f"sqlite:///{database}"]
    )
    assert result.exit_code == 0, result.output
    return Store(f"sqlite:///{database}")


def test_a_database_is_migrated_with_its_orders_and_its_runs_go_on(
    database: Path, outbox: Path
) -> None:
    store = migrated(database)
    harness = ControlPlaneHarness(store, registry=REGISTRY)
    statuses = {
        order_id: harness.status(order_id)
        for order_id in ("done", "bad", "cancelled", "lost", "started", "claimed", "waits")
    }
    assert statuses == {
        "done": "success", "bad": "exception", "cancelled": "cancelled", "lost": "lost",
        "started": "running", "claimed": "pending", "waits": "pending",
    }  # fmt: skip
    assert [row["type"] for row in harness.call("events", run_id="done-1")["events"]] == [
        "run:start", "run:complete",
    ]  # fmt: skip
    # The worker of the started run comes back as this version, with its old outbox.
    box = Outbox(outbox)
    (old,) = box.recover()
    worker = FakeWorker(harness, incarnation="i2")
    events = old.take(10_000)
    report = {"lease": old.lease, "events": [msgspec.Raw(text) for text in events]}
    assert worker.send("reports", number=1, runs=[report]).acks[0].upto == 1
    assert harness.status("started") == "success"
    old.close()
    box.close()
    # Those that wait are queued by priority, and the claimed one is claimed again.
    harness.wait(30)
    runs = worker.claim(5, "new")
    assert [run.order_id for run in runs][:1] == ["waits"]
    assert {run.order_id for run in runs} == {"waits", "waits-too", "claimed"}
    for run in runs:
        worker.request_start(run.lease)
        assert worker.acked(run.lease, event(run.lease.run_id, 0, "run:start")).upto == 0
        assert worker.finish(run.lease, 1).upto == 1
    with store.read() as connection:
        assert list(violations(connection)) == []
    store.close()


@pytest.mark.database
@pytest.mark.slow
@pytest.mark.xdist_group("postgresql")
def test_a_database_in_postgresql_is_migrated_too(database: Path, postgres: Postgres) -> None:
    url = postgres.empty()
    copy_to_postgresql(database, url)
    store = Store(url)
    store.migrate()
    harness = ControlPlaneHarness(store, registry=REGISTRY)
    statuses = {id: harness.status(id) for id in ("done", "bad", "cancelled", "lost", "started")}
    assert statuses == {
        "done": "success", "bad": "exception", "cancelled": "cancelled", "lost": "lost",
        "started": "running",
    }  # fmt: skip
    harness.wait(30)
    runs = FakeWorker(harness, incarnation="i2").claim(5, "new")
    assert [run.order_id for run in runs] == ["waits", "waits-too", "claimed"]
    store.close()


@pytest.mark.parametrize(("since", "broken"), [("0001", {"lanes"}), (FIRST_MIXED, set[str]())])
def test_a_control_plane_of_the_version_before_goes_on_while_tables_are_migrated(
    since: str, broken: set[str], tmp_path: Path
) -> None:
    """A later migration removes nothing that the version before reads, and needs no new value."""
    engine = create_engine(f"sqlite:///{tmp_path}/orders.db")
    with engine.begin() as connection:
        config = migration_config(connection)
        command.upgrade(config, since)
        before = columns_of(connection)
        command.upgrade(config, "head")
        after = columns_of(connection)
    engine.dispose()
    missing = {table for table, columns in before.items() if columns.keys() - after.get(table, {})}
    demanded = {
        f"{table}.{name}"
        for table, columns in before.items()
        for name, is_demanded in after.get(table, {}).items()
        if is_demanded and name not in columns
    }
    assert missing | demanded == broken


def columns_of(connection: Connection) -> dict[str, dict[str, bool]]:
    """Return the columns of each table, and whether an insertion has to name them."""
    inspector = inspect(connection)
    return {
        table: {
            column["name"]: not column["nullable"] and column["default"] is None
            for column in inspector.get_columns(table)
        }
        for table in inspector.get_table_names()
    }


def migration_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config


def copy_to_postgresql(database: Path, url: str) -> None:
    """Make the tables of version 0.1.0 in a database, with the rows of an SQLite file."""
    driver = url.replace("postgresql:", "postgresql+psycopg:")
    new, old = create_engine(driver), create_engine(f"sqlite:///{database}")
    with new.begin() as target, old.connect() as source:
        command.upgrade(migration_config(target), "0001")
        tables, rows = MetaData(), MetaData()
        tables.reflect(target)
        rows.reflect(source)
        # The rows refer to each other in no order.
        target.execute(text("SET LOCAL session_replication_role = replica"))
        for table in tables.tables.values():
            if table.name == "alembic_version":
                continue
            flags = {each.name for each in table.c if isinstance(each.type, Boolean)}
            for row in source.execute(select(rows.tables[table.name])).mappings():
                values = {name: bool(row[name]) if name in flags else row[name] for name in row}
                target.execute(insert(table), values)
    new.dispose()
    old.dispose()


def test_a_migration_is_repeated_without_effect(database: Path) -> None:
    migrated(database).close()
    before = database.read_bytes()
    migrated(database).close()
    assert database.read_bytes() == before


def test_a_journal_is_audited(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["audit", str(OLD / "journal.jsonl")])
    assert result.exit_code == 0, result.output
