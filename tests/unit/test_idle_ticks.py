"""A tick of a control plane with nothing to do has no transaction, and one with work does it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker
from tests.support.databases import memory_store
from worker.fleet.control.due_runs import _DUE, _LATE
from worker.fleet.control.idle_check import _IS_ANY_DUE_OR_WAITING
from worker.fleet.control.store.store import Store
from worker.fleet.control.store.transaction import Transaction


class _CountingStore(Store):
    transactions = 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self.transactions += 1
        with super().transaction() as transaction:
            yield transaction


@pytest.fixture
def store() -> Iterator[_CountingStore]:
    with memory_store(_CountingStore) as opened:
        yield opened


def test_an_idle_control_plane_writes_its_checkpoint_and_nothing_else(
    store: _CountingStore,
) -> None:
    harness = ControlPlaneHarness(store)
    harness.wait(5)
    before = store.transactions
    # 33 ticks in 30 s; a checkpoint every 2 s that a tick comes after.
    harness.wait(30)
    assert store.transactions - before <= 15


def test_no_tick_reads_all_waiting_runs(store: _CountingStore) -> None:
    with store.read() as connection:
        for statement in (_IS_ANY_DUE_OR_WAITING, _DUE, _LATE):
            compiled = statement._compile(connection.dialect)
            driver = connection.connection.driver_connection
            assert driver is not None
            plan = driver.execute(
                f"EXPLAIN QUERY PLAN {compiled.text}", compiled.parameters({"now": 1})
            )
            reads = [text for *_, text in plan if "runs" in text]
            assert reads
            assert all("phase=? AND" in text for text in reads), reads


def test_a_run_that_another_control_plane_queued_is_assigned_by_the_next_tick(
    store: _CountingStore,
) -> None:
    harness, other = ControlPlaneHarness(store), ControlPlaneHarness(store)
    worker = FakeWorker(harness, "w")
    worker.birth()
    assert worker.claim() == []
    other.submit("o")
    other.wait(3)
    assert other.status("o") == "pending", "it has no claim"
    harness.tick()
    assert harness.run("o")["worker"] == "w"


def test_runs_that_wait_are_no_work_while_no_worker_has_a_claim(store: _CountingStore) -> None:
    harness = ControlPlaneHarness(store)
    harness.submit("o")
    harness.wait(5)
    before = store.transactions
    harness.wait(30)
    assert store.transactions - before <= 15


def test_a_checkpoint_is_no_reason_to_look_for_other_work(
    store: _CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = list[str]()

    def look(transaction: Transaction, *_: int) -> list[Any]:
        looks.append("rows")
        return []

    monkeypatch.setattr(Transaction, "queues", look)
    monkeypatch.setattr(Transaction, "expired_runs", look)
    harness = ControlPlaneHarness(store)
    harness.wait(30)
    assert looks == []


def test_a_heartbeat_reads_no_order(store: _CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = ControlPlaneHarness(store)
    worker, lease = harness.started("o")
    read, load = list[str](), Transaction.load_orders

    def load_orders(transaction: Transaction, ids: Iterable[str]) -> None:
        read.extend(wanted := list(ids))
        load(transaction, wanted)

    monkeypatch.setattr(Transaction, "load_orders", load_orders)
    worker.heartbeat(lease)
    assert read == []
    worker.finish(lease)
    assert set(read) == {"o"}
