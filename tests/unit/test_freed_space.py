"""Space of what was deleted: SQLite gives pages back, half-sent contents go after an hour."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, request
from worker.fleet.control.store import store as store_module
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.uploads import CHUNK_LIFETIME_US
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.content import chunks_of

LARGE = {"data": {"text": "x" * 50_000}}
RETAIN_S = 3600.0


def pages(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("PRAGMA page_count").fetchone()[0])


def _with_ended_orders(store: Store, count: int) -> ControlPlaneHarness:
    harness = ControlPlaneHarness(store, settings=Settings(retain_s=RETAIN_S))
    for number in range(count):
        harness.submit(f"o{number}", input=LARGE)
        harness.call("cancel", id=f"o{number}")
    return harness


@pytest.mark.slow
def test_a_database_gives_the_pages_of_deleted_orders_back(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    harness = _with_ended_orders(store, 40)
    full = pages(path)
    harness.pass_time(RETAIN_S + 60)
    for _ in range(4):
        harness.pass_time(61)
        harness.tick()
    assert harness.call("summary")["orders"] == {}
    assert pages(path) < full / 3
    store.close()


def test_a_locked_database_loses_nothing_that_a_tick_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SQLITE_BUSY_TIMEOUT_S", 0.01)
    path = tmp_path / "orders.db"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    harness = _with_ended_orders(store, 4)
    backup = sqlite3.connect(path, isolation_level=None)
    give_back = store.give_pages_back
    refused: list[StoreUnavailable] = []

    def give_back_during_a_backup() -> None:
        backup.execute("BEGIN IMMEDIATE")
        try:
            give_back()
        except StoreUnavailable as error:
            refused.append(error)
            raise
        finally:
            backup.execute("ROLLBACK")

    monkeypatch.setattr(store, "give_pages_back", give_back_during_a_backup)
    harness.pass_time(RETAIN_S + 60)
    for _ in range(4):
        harness.pass_time(61)
        harness.tick()
    assert harness.call("summary")["orders"] == {}
    assert "locked" in str(refused[0])
    backup.close()
    store.close()


def test_a_locked_database_cannot_be_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SQLITE_BUSY_TIMEOUT_S", 0.01)
    path = tmp_path / "orders.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE old (text TEXT)")
    store = Store(f"sqlite:///{path}")
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        store.compact()
    other.close()
    store.close()


def test_an_older_database_is_rewritten_once_by_migrate(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE old (text TEXT)")
    store = Store(f"sqlite:///{path}")
    store.compact()
    with store.read() as rows:
        assert rows.exec_driver_sql("PRAGMA auto_vacuum").scalar() == 2
    store.close()


def test_half_sent_contents_are_forgotten_after_an_hour(tmp_path: Path) -> None:
    store = Store("sqlite://")
    store.migrate()
    harness = ControlPlaneHarness(store)
    first, *_, last = chunks_of(b"x" * 20_000, 9_000)
    assert harness.send(request("chunk", **as_fields(first))).replies[0].error is None
    harness.wait(70)
    harness.pass_time(CHUNK_LIFETIME_US / 1e6 + 61)
    harness.tick()
    with store.read() as rows:
        assert rows.exec_driver_sql("SELECT count(*) FROM chunks").scalar() == 0
    # The next chunk is refused, so that its sender begins again.
    assert harness.failure("chunk", **as_fields(last)).code == "missing"
    store.close()


def as_fields(chunk: wire.Chunk) -> dict[str, object]:
    return {"content": chunk.content, "offset": chunk.offset, "data": chunk.data}
