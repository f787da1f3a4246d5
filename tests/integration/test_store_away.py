"""A database that goes away and comes back under a control plane."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from tests.integration.test_local_fleet import QUICK, TOPICS
from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, submission
from tests.support.databases import Postgres
from worker.cli import control_process
from worker.cli.connection import BrokerConnection
from worker.cli.control_process import ControlOptions
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.control import service
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store import store as store_module
from worker.fleet.control.store.store import Store, StoreUnavailable
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.topics import Topics
from worker.fleet.worker.fleet_worker import HEARTBEATS_PER_LEASE
from worker.sinks.log import stderr_logger

LEASE_S = Settings().lease_s


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_template: Path) -> Path:
    """Provide a database whose locks are waited for only a moment."""
    monkeypatch.setattr(store_module, "SQLITE_BUSY_TIMEOUT_S", 0.01)
    path = tmp_path / "orders.db"
    path.write_bytes(sqlite_template.read_bytes())
    return path


@pytest.fixture
def opened(file: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{file}")
    yield store
    store.close()


def test_a_locked_database_changes_nothing_and_loses_nothing(file: Path, opened: Store) -> None:
    harness = ControlPlaneHarness(opened)
    worker, lease = harness.started()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="locked"):
            harness.send(submission("later"), worker.message("claim", claim_id="c", demand=1,
                                                             incarnation="i1"))  # fmt: skip
        harness.pass_time(LEASE_S)
        with pytest.raises(StoreUnavailable):
            harness.tick()
    other.execute("ROLLBACK")
    assert harness.tick().statuses == ["running"], "no lease expires while the database was away"
    assert not harness.wait(LEASE_S - 1).states
    worker.heartbeat(lease)
    assert not harness.wait(LEASE_S - 1).states
    harness.submit("later")
    assert [run.order_id for run in worker.claim(1, "c")] == ["later"]
    other.close()


def test_a_worker_that_is_silent_is_lost_a_lease_after_the_database_is_back(
    file: Path, opened: Store
) -> None:
    harness = ControlPlaneHarness(opened)
    harness.started()
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    harness.pass_time(2 * LEASE_S)
    with pytest.raises(StoreUnavailable):
        harness.tick()
    other.execute("ROLLBACK")
    other.close()
    assert harness.wait(LEASE_S + 1).statuses == ["lost"]


def test_a_full_disk_is_waited_for(opened: Store) -> None:
    harness = ControlPlaneHarness(opened)
    with opened.read() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    with pytest.raises(StoreUnavailable, match="full"):
        harness.send(submission("o", input={"data": "x" * 100_000}))
    with opened.read() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    harness.submit("o", input={"data": "x" * 100_000})


def test_a_defect_is_not_taken_for_a_database_that_is_away(opened: Store) -> None:
    with opened.transaction() as transaction:
        transaction.connection.exec_driver_sql("DROP TABLE meta")
    harness = ControlPlaneHarness(opened, connect=False)
    with pytest.raises(Exception, match="no such table") as caught:
        harness.connect()
    assert not isinstance(caught.value, StoreUnavailable)


@pytest.mark.parametrize("lease_s", [4, 10, 15, 30, 300])
def test_a_control_plane_that_receives_nothing_notices_before_leases_end(lease_s: float) -> None:
    noticed_s = 2 * service.plane_keepalive_s(lease_s)
    assert noticed_s <= lease_s - lease_s / HEARTBEATS_PER_LEASE


async def test_a_control_plane_waits_for_its_database_and_goes_on(
    file: Path, opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_STORE_PAUSE_S", 0.05)
    broker = LocalBroker()
    plane = ControlPlane(
        broker.bus(*TOPICS.for_control()), MessageProcessor(opened, topics=TOPICS),
        topics=TOPICS, log=stderr_logger(logging.CRITICAL),
    )  # fmt: skip
    running = asyncio.create_task(plane.run())
    try:
        async with asyncio.timeout(60), Client(broker.bus(), TOPICS, wait_s=60) as client:
            await client.summary()
            assert plane.problem == ""
            other = sqlite3.connect(file, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            submitted = asyncio.create_task(client.submit(plan=QUICK))
            while not plane.problem:
                await asyncio.sleep(0.001)
            assert "locked" in plane.problem and not running.done()
            other.execute("ROLLBACK")
            other.close()
            assert (await submitted)["status"] == "pending"
            assert plane.problem == ""
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_a_call_that_hangs_is_a_problem(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SLOW_STORE_S", -1.0)
    plane = ControlPlane(
        LocalBroker().bus(), MessageProcessor(opened), topics=TOPICS,
        log=stderr_logger(logging.CRITICAL),
    )  # fmt: skip
    assert plane.problem == "not connected to the broker"

    async def call() -> str:
        return await plane._on_thread(lambda: plane.problem)

    assert "has not answered for " in asyncio.run(call())


@pytest.mark.slow
@pytest.mark.database
@pytest.mark.xdist_group("postgresql")
def test_a_server_that_ends_all_connections_is_used_again(postgres: Postgres) -> None:
    url = postgres.empty()
    store = Store(url)
    store.migrate()
    harness = ControlPlaneHarness(store)
    harness.submit("before")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    with (
        psycopg.connect(url, autocommit=True) as admin,
        pytest.raises(StoreUnavailable),
        store.transaction() as transaction,
    ):
        admin.execute(f"{end} AND datname = current_database()")
        transaction.connection.exec_driver_sql("SELECT 1")
    harness.submit("after")
    assert [run.order_id for run in FakeWorker(harness).claim(2)] == ["before", "after"]
    store.close()


def test_a_start_that_failed_after_it_reserved_the_database_is_repeated(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other, log = Store(url), Store(url), stderr_logger(logging.CRITICAL)
    read, failures = store.read, [StoreUnavailable("the database system is shutting down")]

    def read_after_a_failure() -> AbstractContextManager[Connection]:
        if failures:
            raise failures.pop()
        return read()

    monkeypatch.setattr(store, "read", read_after_a_failure)
    broker = BrokerConnection(address=parse_address("mqtt://127.0.0.1:1"), topics=Topics())
    options = ControlOptions(store=url)
    start = lambda: control_process._open(broker, options, store, log)  # noqa: E731
    assert isinstance(control_process._when_available(start, log, 30.0), ControlPlane)
    assert not failures
    with pytest.raises(UsageError, match="in use by another control plane"):
        other.reserve(shared=False)
    other.close()
    store.close()


def test_a_control_plane_that_starts_waits_for_a_database_that_is_restarted() -> None:
    attempts: list[int] = []

    def open_store() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise StoreUnavailable("the database system is shutting down")
        return "open"

    log = stderr_logger(logging.CRITICAL)
    assert control_process._when_available(open_store, log, 30.0) == "open"
    attempts.clear()
    with pytest.raises(StoreUnavailable, match="shutting down"):
        control_process._when_available(open_store, log, -1.0)


@pytest.mark.parametrize(
    ("message", "waits"),
    [
        ("FATAL:  the database system is shutting down", True),
        ("terminating connection due to administrator command", True),
        ("connection refused", True),
        ('FATAL:  password authentication failed for user "x"', False),
        ('FATAL:  database "x" does not exist', False),
    ],
)
def test_only_a_database_that_may_come_back_is_waited_for(message: str, waits: bool) -> None:
    error = OperationalError("SELECT 1", {}, psycopg.OperationalError(message))
    assert store_module._may_come_back(error) is waits
