"""What version 0.1.0 wrote: a database, an outbox, a journal. They are migrated, or read.

``tests/data/version-0.1.0`` was written by that version's own code.
"""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from tests.support.control_plane_harness import (
    REGISTRY,
    ControlPlaneHarness,
    FakeWorker,
    event,
    violations,
)
from worker.cli.main import cli
from worker.fleet.control.store.store import Store
from worker.fleet.worker.outbox import Outbox

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


def test_a_migration_is_repeated_without_effect(database: Path) -> None:
    migrated(database).close()
    before = database.read_bytes()
    migrated(database).close()
    assert database.read_bytes() == before


def test_a_journal_is_audited(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["audit", str(OLD / "journal.jsonl")])
    assert result.exit_code == 0, result.output
