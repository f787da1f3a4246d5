"""A tick of a control plane with nothing to do has no transaction, and one with work does it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness
from tests.support.databases import memory_store
from worker.fleet.control.due_runs import _DUE, _LATE
from worker.fleet.control.idle_check import _IS_ANY_DUE
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
        for statement in (_IS_ANY_DUE, _DUE, _LATE):
            compiled = statement._compile(connection.dialect)
            driver = connection.connection.driver_connection
            assert driver is not None
            plan = driver.execute(
                f"EXPLAIN QUERY PLAN {compiled.text}", compiled.parameters({"now": 1})
            )
            reads = [text for *_, text in plan if "runs" in text]
            assert reads
            assert all("phase=? AND" in text for text in reads), reads


def test_a_run_that_waits_is_assigned_by_the_next_tick(store: _CountingStore) -> None:
    harness = ControlPlaneHarness(store)
    harness.wait(5)
    before = store.transactions
    harness.submit("o")
    after = store.transactions
    harness.tick()
    assert after > before
    assert store.transactions == after + 1
