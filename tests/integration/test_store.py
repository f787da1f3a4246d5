"""The store: its tables on both databases, transactions, and two control planes on one database."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from msgspec import structs
from sqlalchemy import inspect, text

from tests.support.control_plane_harness import (
    ControlPlaneHarness,
    FakeWorker,
    event,
    request,
    rows,
    submission,
    violations,
)
from tests.support.databases import is_postgresql
from worker.core.status import Status
from worker.errors import UsageError
from worker.fleet.control.entities import RunPhase
from worker.fleet.control.idle_check import is_any_due
from worker.fleet.control.lifecycle import CancelRequested, Renewed, apply
from worker.fleet.control.store import tables
from worker.fleet.control.store.store import Store, StoreError
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.worker_protocol import Assignment

# --- tables ---------------------------------------------------------------------------------------


@pytest.fixture
def opened(empty_url: str) -> Iterator[Store]:
    """A store on a database that has no tables yet."""
    made = Store(empty_url)
    yield made
    made.close()


def test_migrated_tables_are_those_that_the_code_works_with(opened: Store) -> None:
    opened.migrate()
    with opened.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.METADATA) == []
        for table in tables.METADATA.sorted_tables:
            found = {index["name"] for index in inspect(connection).get_indexes(table.name)}
            assert found == {index.name for index in table.indexes}


def test_migrating_twice_is_harmless(opened: Store) -> None:
    opened.migrate()
    harness = ControlPlaneHarness(opened)
    harness.submit("o")
    before = harness.dump()
    opened.migrate()
    assert harness.dump() == before


def test_a_database_of_a_newer_version_is_refused_and_left_alone(opened: Store) -> None:
    opened.migrate()
    with opened.transaction() as transaction:
        transaction.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"its tables were made by a newer version: .*9999"):
        opened.migrate()
    with opened.read() as connection:
        version = connection.execute(text("SELECT version_num FROM alembic_version"))
        assert version.scalar_one() == "9999"


def test_control_planes_that_start_together_make_the_tables_once(empty_url: str) -> None:
    def migrate(_: int) -> None:
        store = Store(empty_url)
        store.migrate()
        store.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, range(4)))


# --- what cannot be used --------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["orders.db", "", "mysql://host/name", "sqlite+nothing:///x"])
def test_what_names_no_database_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="database"):
        Store(url)
    assert not list(tmp_path.iterdir())


def _below_a_file(folder: Path) -> str:
    (folder / "file").write_text("")
    return f"sqlite:///{folder}/file/orders.db"


def _no_database(folder: Path) -> str:
    (folder / "orders.db").write_text("this is a text, and no database at all. " * 100)
    return f"sqlite:///{folder}/orders.db"


def _nobody_there(folder: Path) -> str:
    return f"postgresql://worker:secret@/name?host={folder}"


@pytest.mark.parametrize(
    "url_in", [_below_a_file, _no_database, _nobody_there, lambda folder: f"sqlite:///{folder}"]
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(
    url_in: Callable[[Path], str], tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        Store(url_in(tmp_path)).migrate()
    assert str(tmp_path) in str(caught.value).replace("%2F", "/")
    assert "secret" not in str(caught.value)


def test_sqlite_alone_is_kept_in_memory() -> None:
    store = Store("sqlite://")
    store.migrate()
    ControlPlaneHarness(store).submit("o")
    store.close()


# --- transactions ---------------------------------------------------------------------------------


def test_a_transaction_that_fails_leaves_nothing(harness: ControlPlaneHarness) -> None:
    harness.submit("o")
    before = harness.dump()
    with pytest.raises(ZeroDivisionError), harness.store.transaction() as transaction:
        run = transaction.run("o-1")
        assert run is not None
        transaction.put_run(apply(run, CancelRequested(at=harness.now)))
        transaction.put_plan("p", "{}")
        transaction.flush()
        raise ZeroDivisionError
    assert harness.dump() == before


def test_a_final_run_never_changes_whatever_the_code_believes(harness: ControlPlaneHarness) -> None:
    harness.ended("o")
    before = harness.dump()
    with harness.store.transaction() as transaction:
        run = transaction.run("o-1")
        assert run is not None and run.phase is RunPhase.FINAL
        transaction.put_run(structs.replace(run, status=Status.LOST))
    assert harness.dump() == before


def test_a_defect_in_one_message_stops_no_other(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, lease = harness.started()
    monkeypatch.setattr("worker.fleet.control.worker_messages._store_event", lambda *_: 1 / 0)
    broken = worker.reports(lease, event("o-1", 1))
    published = harness.send(submission("before"), broken, submission("after"))
    assert published.kinds == ["defect"]
    assert len(published.replies) == 2 and published.statuses == ["pending", "pending"]


def test_one_control_plane_keeps_a_store_to_itself_unless_it_is_shared(url: str) -> None:
    first, second = Store(url), Store(url)
    first.reserve(shared=False)
    with pytest.raises(UsageError, match="in use by another control plane"):
        second.reserve(shared=False)
    first.close()
    second.reserve(shared=False)
    second.close()


def test_statements_stay_prepared_and_are_planned_for_the_tables_as_they_are(
    store: Store, url: str
) -> None:
    """Tries to have plans kept that were made while the tables were empty."""
    if not is_postgresql(url):
        return
    for _ in range(20):
        with store.read() as connection:
            is_any_due(connection, 0, has_claims=False)
    generic = text(
        "SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE '%trigger_ticks%'"
    )
    for _ in range(2):
        with store.read() as connection:
            assert connection.execute(generic).scalar() == 0


def test_only_postgresql_is_shared(url: str) -> None:
    first, second, third = Store(url), Store(url), Store(url)
    if not is_postgresql(url):
        with pytest.raises(UsageError, match="needs PostgreSQL"):
            first.reserve(shared=True)
        return
    first.reserve(shared=True)
    second.reserve(shared=True)
    with pytest.raises(UsageError, match="start all of them with --shared"):
        third.reserve(shared=False)
    for store in (first, second, third):
        store.close()


# --- two control planes ---------------------------------------------------------------------------


@pytest.fixture
def second(url: str, harness: ControlPlaneHarness) -> Iterator[ControlPlaneHarness]:
    """Another control plane on the same database, with its own connections."""
    store = Store(url)
    made = ControlPlaneHarness(store)
    made.numbers = harness.numbers
    yield made
    store.close()


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do things in threads of their own, which begin together."""
    gate = threading.Barrier(len(acts))

    def begin(act: Callable[[], Any]) -> Any:
        gate.wait()
        return act()

    with ThreadPoolExecutor(len(acts)) as threads:
        return [one.result() for one in [threads.submit(begin, act) for act in acts]]


@pytest.mark.slow
def test_two_control_planes_give_each_run_once(
    harness: ControlPlaneHarness, second: ControlPlaneHarness
) -> None:
    harness.send(*(submission(f"o{n}", project=f"p{n % 3}") for n in range(200)))

    def claim_all(harness: ControlPlaneHarness, name: str) -> list[str]:
        worker, mine = FakeWorker(harness, name), list[str]()
        while _waiting(harness.store):
            mine += [run.lease.run_id for run in worker.claim(7)]
        return mine

    north, south = at_once(lambda: claim_all(harness, "north"), lambda: claim_all(second, "south"))
    assert Counter(north + south) == Counter(f"o{n}-1" for n in range(200))


def _waiting(store: Store) -> int:
    with store.read() as connection:
        return sum(row["phase"] == "available" for row in rows(connection, tables.RUNS))


def test_two_control_planes_keep_an_order_once(
    harness: ControlPlaneHarness, second: ControlPlaneHarness
) -> None:
    messages = [submission(f"o{n}") for n in range(20)]

    def submit(harness: ControlPlaneHarness) -> list[Any]:
        return [harness.send(message) for message in messages]

    one, other = at_once(lambda: submit(harness), lambda: submit(second))
    for published in one + other:
        assert not published.refusals
        assert [reply.error for reply in published.replies] == [None]
    orders = harness.call("orders")
    assert sorted(order["order_id"] for order in orders) == sorted(f"o{n}" for n in range(20))
    assert [order["runs"] for order in orders] == [1] * 20


def test_two_control_planes_do_not_exceed_a_limit(
    harness: ControlPlaneHarness, second: ControlPlaneHarness
) -> None:
    from tests.unit.test_admission import limited

    for one in (harness, second):
        one.restart(policy=limited(concurrent=10, workflows={"flow": 3}))

    def submit(harness: ControlPlaneHarness, name: str) -> int:
        for n in range(10):
            harness.send(submission(f"{name}{n}"))
        return len([run for _ in range(4) for run in FakeWorker(harness, name).claim(2)])

    given = at_once(lambda: submit(harness, "north"), lambda: submit(second, "south"))
    assert sum(given) == 3
    statuses = Counter(order["status"] for order in harness.call("orders"))
    assert statuses == {"pending": 10, "rejected": 10}


@pytest.mark.slow
def test_two_control_planes_in_each_others_way_make_no_mistake(
    harness: ControlPlaneHarness, second: ControlPlaneHarness
) -> None:
    """Orders, cancels, claims, reports and ticks at once, over the same runs."""
    orders = [f"o{n}" for n in range(30)]
    harness.send(*map(submission, orders))

    def work(harness: ControlPlaneHarness, name: str, cancels: list[str]) -> list[str]:
        worker, kinds = FakeWorker(harness, name), list[str]()
        given: list[Assignment] = []
        for n in range(15):
            leases = [run.lease for run in worker.claim(2)]
            leases += [run.lease for answer in given for run in answer.runs]
            ends = [worker.reports(one, event(one.run_id, 0, "run:complete")) for one in leases]
            cancel = [request("cancel", id=id) for id in cancels[2 * n : 2 * n + 2]]
            published = harness.send(*cancel, *ends, submission(f"{name}{n}"))
            ticked = harness.tick()
            kinds += published.kinds + ticked.kinds
            given = published.assignments + ticked.assignments
        return kinds

    one, other = at_once(
        lambda: work(harness, "north", orders), lambda: work(second, "south", orders[::-1])
    )
    assert "defect" not in one + other
    with harness.store.read() as connection:
        runs = rows(connection, tables.RUNS)
    assert {row["status"] for row in runs if row["order_id"] in orders} <= {
        "success", "cancelled",
    }  # fmt: skip


def test_a_lease_that_another_one_is_renewing_does_not_expire(
    harness: ControlPlaneHarness, second: ControlPlaneHarness
) -> None:
    harness.started("o")
    for one in (harness, second):
        one.pass_time(10 * Settings().lease_s)
        one.connect()
        one.pass_time(Settings().lease_s)
    with ThreadPoolExecutor(1) as threads:
        with harness.store.transaction() as transaction:
            run = transaction.run("o-1")
            assert run is not None and run.expires < second.now
            transaction.put_run(apply(run, Renewed(expires=second.now + 1)))
            transaction.flush()
            ticked = threads.submit(second.tick)
            with pytest.raises(TimeoutError):
                ticked.result(0.2)
        assert not ticked.result().states
    assert harness.status() == "running"


@pytest.mark.parametrize("_", range(5))
def test_an_order_that_is_retried_is_not_deleted_meanwhile(
    harness: ControlPlaneHarness, second: ControlPlaneHarness, _: int
) -> None:
    harness.ended("o")
    for one in (harness, second):
        one.restart(settings=Settings(retain_s=1))
        one.pass_time(1000)
    retried, ticked = at_once(
        lambda: harness.send(request("retry", id="o", run_id="again")),
        second.tick,
    )
    (reply,) = retried.replies
    with harness.store.read() as connection:
        assert list(violations(connection)) == []
    left = {order["order_id"]: order["runs"] for order in harness.call("orders")}
    assert not ticked.refusals
    if reply.error is None:
        assert left == {"o": 2}
    else:
        assert (reply.error.code, left) == ("unknown", {})


@pytest.mark.parametrize("_", range(5))
def test_no_plan_is_deleted_of_an_order_that_comes_meanwhile(
    harness: ControlPlaneHarness, second: ControlPlaneHarness, _: int
) -> None:
    harness.ended("old")
    for one in (harness, second):
        one.restart(settings=Settings(retain_s=1))
        one.pass_time(1000)
    at_once(lambda: harness.submit("new"), second.tick)
    (run,) = FakeWorker(harness).claim()
    assert run.order_id == "new"


def test_a_plan_that_is_missing_is_an_error(store: Store) -> None:
    with store.transaction() as transaction:
        for _ in range(2):
            with pytest.raises(LookupError, match="there is no plan none"):
                transaction.plan("none")
