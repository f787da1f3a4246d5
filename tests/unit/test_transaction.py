"""A transaction of the store: what it reads, what it writes, and what it counts before it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict, replace
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from tests.support.databases import memory_store
from worker.core.status import Status
from worker.fleet.control.entities import ProjectRecord, RunPhase, RunRecord, WorkOrder
from worker.fleet.control.lifecycle import Claimed, Completed, StartConfirmed, apply
from worker.fleet.control.queue import AGEING_S, ProjectQueue
from worker.fleet.control.store import reading
from worker.fleet.control.store import statements as sql
from worker.fleet.control.store import store as stores
from worker.fleet.control.store.store import Store
from worker.fleet.control.store.transaction import (
    EventRow,
    StoredCheckpoint,
    Transaction,
    WaitingRun,
    WorkerRow,
)

AGEING_US = AGEING_S * 1_000_000


@pytest.fixture
def store() -> Iterator[Store]:
    with memory_store(Store) as opened:
        yield opened


@pytest.fixture
def transaction(store: Store) -> Iterator[Transaction]:
    with store.transaction() as opened:
        yield opened


def run(id: str, **fields: Any) -> RunRecord:
    number = int(id.removeprefix("r"))
    values = {
        "order_id": f"o{number}", "number": 1, "project": "p", "workflow": "w", "priority": 0,
        "age": number, "created": number, **fields,
    }  # fmt: skip
    return RunRecord(id=id, **values)


def claimed(record: RunRecord, *, worker: str = "north", at: int = 5, expires: int = 50) -> Any:
    lease = Claimed(
        worker=worker, incarnation="i", claim_id=f"c-{worker}", token="token-000001",
        expires=expires, at=at,
    )  # fmt: skip
    return apply(record, lease)


def started(record: RunRecord, **lease: Any) -> RunRecord:
    expires = lease.get("expires", 50)
    return apply(claimed(record, **lease), StartConfirmed(at=6, expires=expires))


def ended(record: RunRecord) -> RunRecord:
    return apply(started(record), Completed(seq=0, at=9, status=Status.SUCCESS))


def put(transaction: Transaction, *records: RunRecord) -> None:
    for record in records:
        transaction.put_run(record)
    transaction.flush()


def queue(project: str = "p", priority: int = 0, since: int = 0) -> ProjectQueue:
    return ProjectQueue(project=project, priority=priority, since=since)


def ids(records: list[RunRecord]) -> list[str]:
    return sorted(record.id for record in records)


# --- orders and runs ------------------------------------------------------------------------------


def test_what_was_put_is_read_in_this_transaction_and_in_the_next(store: Store) -> None:
    order = WorkOrder(
        id="o1", project="p", workflow="w", plan_id="plan", input="o1/i", options="{}", priority=0,
        status=Status.PENDING, created=1, runs=1, last_run="r1",
    )  # fmt: skip
    with store.transaction() as first:
        assert first.order("o1") is None and first.run("r1") is None
        first.put_plan("plan", "{}")
        first.put_order(order)
        first.put_run(run("r1"))
        assert first.order("o1") is order
        assert first.known_runs() == [run("r1")]
    with store.transaction() as second:
        assert second.order("o1") == order and second.run("r1") == run("r1")
        assert second.run("r1") is second.run("r1")
        second.put_order(replace(order, priority=3, revision=1))
        second.put_run(claimed(run("r1")))
    with store.transaction() as third:
        assert third.order("o1") == replace(order, priority=3, revision=1)
        assert third.run("r1") == claimed(run("r1"))
        assert third.known_runs() == [claimed(run("r1"))]


def test_a_run_that_was_missing_is_not_read_again_until_it_is_put(store: Store) -> None:
    with store.transaction() as transaction:
        assert transaction.run("r1") is None
        transaction.put_run(run("r1"))
        assert transaction.run("r1") == run("r1")
        transaction.flush()
        transaction.put_run(claimed(run("r1")))
        transaction.flush()
        transaction.flush()
    with store.transaction() as transaction:
        assert transaction.run("r1") == claimed(run("r1"))


# --- the counts of a project ----------------------------------------------------------------------


def counts(transaction: Transaction, since: int = 0, most: int = 100) -> tuple[int, int]:
    project = transaction.project("p", since=since, most=most)
    assert project == ProjectRecord(
        name="p", unfinished=project.unfinished, accepted=project.accepted
    )
    return project.unfinished, project.accepted


def test_runs_are_counted_before_and_after_they_are_written(transaction: Transaction) -> None:
    assert counts(transaction) == (0, 0)
    transaction.put_run(run("r1"))
    transaction.put_run(run("r2", project="q"))
    transaction.put_run(run("r3"))
    assert counts(transaction) == (2, 2)
    transaction.put_run(started(run("r1")))
    assert counts(transaction) == (2, 2)
    transaction.put_run(ended(run("r1")))
    assert counts(transaction) == (1, 2)
    transaction.flush()
    assert counts(transaction) == (1, 2)
    transaction.put_run(claimed(run("r3")))
    transaction.put_run(ended(run("r3")))
    assert counts(transaction) == (0, 2)
    transaction.flush()
    assert counts(transaction) == (0, 2)
    assert counts(transaction, since=1) == (0, 1), "accepted after that time"


def test_counts_stop_at_the_number_that_matters(transaction: Transaction) -> None:
    put(transaction, *(run(f"r{number}") for number in range(1, 5)))
    assert counts(transaction, most=3) == (3, 3)


class Statements:
    """Stands in for a statement of PostgreSQL: it notes the values that it is executed with."""

    def __init__(self, *rows: Any) -> None:
        self._rows, self.values = list(rows), list[Any]()

    def rows(self, connection: Any, values: Any) -> list[Any]:
        self.values.append(values)
        return self._rows

    column = rows


def test_a_project_is_locked_once(transaction: Transaction, monkeypatch: Any) -> None:
    lock = Statements()
    monkeypatch.setattr(sql, "PROJECT", lock)
    for name in ("p", "q", "p"):
        transaction.lock_project(name)
    assert lock.values == [{"name": "p"}, {"name": "q"}]


def test_claims_that_another_control_plane_holds_are_left_out(
    transaction: Transaction, monkeypatch: Any
) -> None:
    locks = Statements("c-2")
    monkeypatch.setattr(sql, "LOCK_CLAIMS", locks)
    assert transaction.lock_claims(["c-2", "c-1"]) == ["c-1", "c-2"], "SQLite has no other"
    monkeypatch.setattr(transaction, "_dialect", "postgresql")
    assert transaction.lock_claims(["c-2", "c-1"]) == ["c-2"]
    assert locks.values == [{"ids": ["c-1", "c-2"]}]


# --- the queue ------------------------------------------------------------------------------------


def test_a_queue_is_as_old_as_its_oldest_run(transaction: Transaction) -> None:
    put(transaction, run("r3"), run("r2"), run("r4"), run("r5", priority=1), run("r6", project="q"))
    assert transaction.queues(10) == [queue("p", 1, 5), queue("p", 0, 2), queue("q", 0, 6)]
    assert transaction.queues(1, queue("p", 1, 5).place) == [queue("p", 0, 2)]
    put(transaction, run("r1"))
    assert queue("p", 0, 2) in transaction.queues(10), "it has been there before"


def test_the_oldest_runs_of_a_queue_wait_first(transaction: Transaction) -> None:
    put(
        transaction,
        run("r3"), run("r2", workflow="v"), run("r1", needs='["x"]'), run("r4"), run("r5"),
        run("r6", project="q"), run("r7", priority=1), claimed(run("r8")),
    )  # fmt: skip

    def waiting(
        count: int = 10, full: tuple[str, ...] = (), unmet: tuple[str, ...] = ()
    ) -> list[str]:
        return [each.run_id for each in transaction.waiting_runs(queue(), count, full, unmet)]

    first = WaitingRun(run_id="r1", workflow="w", needs='["x"]')
    assert transaction.waiting_runs(queue(), 1, []) == [first]
    assert waiting() == ["r1", "r2", "r3", "r4", "r5"]
    assert waiting(2) == ["r1", "r2"]
    assert waiting(full=("v",)) == ["r1", "r3", "r4", "r5"]
    assert waiting(unmet=('["x"]',)) == ["r2", "r3", "r4", "r5"]
    transaction.reserve("r3")
    transaction.reserve("r5")
    assert waiting() == ["r1", "r2", "r4"]
    transaction.flush()
    assert waiting() == ["r1", "r2", "r3", "r4", "r5"], "only until the changes are written"


def test_a_queue_is_dropped_when_no_run_waits_in_it(transaction: Transaction) -> None:
    put(transaction, run("r1"))
    transaction.drop_if_empty(queue())
    assert transaction.queues(10) == [queue(since=1)]
    put(transaction, claimed(run("r1")))
    transaction.drop_if_empty(queue())
    assert transaction.queues(10) == []


def test_a_queue_that_was_served_ages_anew(transaction: Transaction) -> None:
    put(transaction, run("r1"), run("r2", project="q"))
    transaction.mark_served([queue()], 3 * AGEING_US)
    assert transaction.queues(10) == [queue("q", 0, 2), queue("p", 0, 3 * AGEING_US)]
    put(transaction, run("r3", project="z", age=2 * AGEING_US))
    assert [each.project for each in transaction.queues(10)] == ["q", "z", "p"]


# --- leases ---------------------------------------------------------------------------------------


def test_leases_are_counted_by_project_and_by_workflow(transaction: Transaction) -> None:
    put(
        transaction,
        claimed(run("r1")), started(run("r2", workflow="v")), claimed(run("r3", project="q")),
        run("r4"), ended(run("r5")),
    )  # fmt: skip
    assert transaction.leases_by_project() == {"p": 2, "q": 1}
    assert transaction.leases_by_workflow("p") == {"w": 1, "v": 1}


def test_runs_that_were_leased_after_a_time_are_counted(transaction: Transaction) -> None:
    put(
        transaction,
        claimed(run("r1"), at=5), claimed(run("r2", workflow="v"), at=6),
        claimed(run("r3", project="q", needs='["a%","b"]'), at=7), run("r4"),
    )  # fmt: skip
    assert transaction.count_assigned(4) == 3
    assert transaction.count_assigned(5) == 2
    assert transaction.count_assigned(4, project="p") == 2
    assert transaction.count_assigned(4, project="p", workflow="v") == 1
    assert transaction.count_assigned(4, need='"a%"') == 1
    assert transaction.count_assigned(4, need='"%"') == 0


def test_runs_are_loaded_by_their_lease(transaction: Transaction) -> None:
    put(
        transaction,
        claimed(run("r1"), expires=50), started(run("r2"), expires=51),
        claimed(run("r3"), worker="south", expires=90), ended(run("r4")), run("r5"),
    )  # fmt: skip
    assert ids(transaction.runs_of_claim("c-south")) == ["r3"]
    assert ids(transaction.leased_runs_of("north")) == ["r1", "r2"]
    assert transaction.answered_claims(["c-south", "c-none"]) == ["c-south"]
    assert sorted(transaction.lock_claims({"c-2", "c-1"})) == ["c-1", "c-2"]
    assert ids(transaction.expired_runs(49)) == []
    assert ids(transaction.expired_runs(50)) == ["r1"]
    assert ids(transaction.expired_runs(51)) == ["r1", "r2"]


def test_leases_are_capped_and_never_extended(store: Store) -> None:
    with store.transaction() as transaction:
        put(transaction, claimed(run("r1"), expires=50), started(run("r2"), expires=90))
        put(transaction, run("r3", phase=RunPhase.DELAYED, expires=95))
        transaction.cap_leases(70)
    with store.transaction() as transaction:
        transaction.load_runs(["r1", "r2", "r3"])
        assert {each.id: each.expires for each in transaction.known_runs()} == {
            "r1": 50, "r2": 70, "r3": 95
        }  # fmt: skip


# --- plans, dataclips, chunks ---------------------------------------------------------------------


def test_plans_and_dataclips_are_stored_once(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.put_plan("a", "{}")
        transaction.put_plan("a", "other")
        assert transaction.plan("a") == "{}"
        with pytest.raises(LookupError, match="there is no plan b"):
            transaction.plan("b")
        assert transaction.dataclip("o", "i") is None
        transaction.put_dataclip("o", "i", "[1]")
        assert transaction.dataclip("o", "i") == "[1]"
    with store.transaction() as transaction:
        transaction.put_plan("a", "other")
        transaction.put_dataclip("o", "i", "other")
    with store.transaction() as transaction:
        assert transaction.plan("a") == transaction.plan("a") == "{}"
        assert transaction.dataclip("o", "i") == "[1]"
        assert transaction.dataclip("i", "o") is None


def test_a_dataclip_is_read_up_to_a_size_in_bytes(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.put_dataclip("o", "i", '"éé"')
        assert transaction.short_dataclip("o", "i", 5) is None
        assert transaction.short_dataclip("o", "i", 6) == '"éé"'
    with store.transaction() as transaction:
        assert transaction.short_dataclip("o", "i", 3) is None
        assert transaction.short_dataclip("o", "i", 5) is None
        assert transaction.short_dataclip("o", "i", 6) == '"éé"'
        assert transaction.short_dataclip("o", "none", 6) == ""


def chunk(hash: str, place: int, data: bytes, **fields: Any) -> dict[str, Any]:
    values = {"owner": "o", "hash": hash, "place": place, "size": 9, "received": 5, "data": data}
    return {**values, **fields}


def test_chunks_are_counted_aged_and_forgotten(transaction: Transaction) -> None:
    assert transaction.uploaded_bytes() == 0
    assert transaction.stored_chunks("o", "h") == (None, 0)
    transaction.put_chunk(chunk("h", 0, b"abc"))
    assert transaction.uploaded_bytes() == 9
    transaction.put_chunk(chunk("h", 3, b"de"))
    assert transaction.stored_chunks("o", "h") == (9, 5)
    transaction.put_chunk(chunk("g", 3, b"x", size=4))
    assert transaction.chunks("o", "h") == {0: b"abc", 3: b"de"}
    assert transaction.stored_chunks("o", "h") == (9, 5)
    assert transaction.stored_chunks("o", "g") == (None, 1)
    assert transaction.uploaded_bytes() == 9
    transaction.age_chunks("o", "h", 7)
    transaction.forget_chunks(5)
    assert transaction.chunks("o", "g") == {3: b"x"}
    transaction.forget_chunks(6)
    assert transaction.chunks("o", "g") == {}
    assert transaction.chunks("o", "h") == {0: b"abc", 3: b"de"}


# --- rows -----------------------------------------------------------------------------------------


def test_a_row_is_inserted_unless_there_is_one_with_its_key(transaction: Transaction) -> None:
    event = EventRow(run_id="r", attempt=1, seq=0, type="run:start", clip=None, body="{}")
    transaction.put_event(event)
    transaction.put_event(replace(event, body="other"))
    transaction.flush()
    row = asdict(event)
    assert transaction.insert_if_missing("events", row) is False
    assert transaction.insert_if_missing("events", {**row, "seq": 1}) is True
    assert transaction.insert_if_missing("events", {**row, "seq": 1}) is False


def test_checkpoints_are_kept_by_control_plane(transaction: Transaction) -> None:
    for id, time_us in (("a", 1), ("b", 2), ("", 3), ("a", 4)):
        transaction.put_checkpoint(id, time_us)
    transaction.put_behind("a", 1)
    transaction.put_behind("b", 1)
    transaction.drop_behind("b")
    assert transaction.checkpoints() == {
        "a": StoredCheckpoint(4, 1), "b": StoredCheckpoint(2), "": StoredCheckpoint(3),
    }  # fmt: skip
    transaction.drop_checkpoints(["a", ""])
    assert transaction.checkpoints() == {"b": StoredCheckpoint(2)}


def test_changed_runs_are_loaded_in_pages_by_their_change(transaction: Transaction) -> None:
    put(
        transaction,
        run("r1", changed=5), run("r2", changed=5), run("r3", changed=4),
        replace(ended(run("r4")), changed=6), replace(ended(run("r5")), changed=3),
    )  # fmt: skip

    def page(after: tuple[int, str], since: int) -> list[str]:
        return [record.id for record in transaction.retained_runs(after, since, 10)]

    assert page((0, ""), 0) == ["r5", "r3", "r1", "r2", "r4"]
    assert page((5, "r1"), 0) == ["r2", "r4"]
    assert page((0, ""), 6) == ["r3", "r1", "r2", "r4"]
    assert page((0, ""), 7) == ["r3", "r1", "r2"]
    assert page((5, ""), 5) == ["r1", "r2", "r4"]
    first = transaction.retained_runs((0, ""), 0, 3)
    assert [record.id for record in first] == ["r5", "r3", "r1"]


def test_alerts_are_open_until_they_are_delivered(transaction: Transaction) -> None:
    put(transaction, ended(run("r1")), ended(run("r2")))
    for id in ("r1", "r2"):
        transaction.add_new("alerts", {"run_id": id, "at": 1})
    transaction.flush()
    none: frozenset[str] = frozenset()
    assert [(each.id, done) for each, done in transaction.unnotified(9)] == [
        ("r1", none), ("r2", none)
    ]  # fmt: skip
    assert [each.id for each, _ in transaction.unnotified(1)] == ["r1"]
    transaction.mark_delivered("r1", {"mail", "hook"})
    transaction.mark_notified(["r2"], 7)
    assert [(each.id, done) for each, done in transaction.unnotified(9)] == [
        ("r1", frozenset({"mail", "hook"}))
    ]


def test_alerts_are_open_for_each_channel_by_itself(transaction: Transaction) -> None:
    put(transaction, *(ended(run(f"r{number}")) for number in range(4)))
    for number in range(4):
        transaction.add_new("alerts", {"run_id": f"r{number}", "at": number})
    transaction.flush()
    transaction.mark_delivered("r0", {"bus", "hook"})
    transaction.mark_delivered("r1", {"bus"})
    transaction.mark_delivered("r2", {"hook"})

    def open_for(channel: str, most: int = 9) -> list[str]:
        return [each.id for each, _ in transaction.unnotified(most, channel)]

    assert open_for("") == ["r0", "r1", "r2", "r3"]
    assert open_for("bus") == ["r2", "r3"] and open_for("bus", 1) == ["r2"]
    assert open_for("hook") == ["r1", "r3"]
    assert open_for("ook") == open_for("mail") == ["r0", "r1", "r2", "r3"]


def test_workers_and_what_they_offer_are_the_last_that_were_put(transaction: Transaction) -> None:
    north = WorkerRow(
        name="north", incarnation="i", online=True, draining=False, capacity=2, version="1",
        since=5, offers='["x"]', heard=6, host="h",
    )  # fmt: skip
    assert transaction.worker("north") is None
    transaction.put_worker(replace(north, capacity=1))
    transaction.put_worker(north)
    transaction.put_worker(replace(north, name="south", online=False, offers=None))
    assert transaction.worker("north") == north
    assert transaction.offers(5) == {"north": '["x"]'}
    assert transaction.offers(4) == {"north": '["x"]', "south": None}


def test_errors_of_the_database_have_no_values(transaction: Transaction) -> None:
    """They are logged, and the values are inputs, plans and states."""
    with pytest.raises(OperationalError) as caught:
        transaction.connection.execute(text("INSERT INTO nowhere VALUES (:x)"), {"x": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///{folder}/a.db", "postgresql://ann@127.0.0.1:1/none"]
)
@pytest.mark.parametrize("make", [stores._engine, reading._read_only])
def test_every_engine_hides_values(make: Callable[[str], Engine], url: str, tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    if make is reading._read_only and url == "sqlite://":
        return  # there is nothing to read in a memory of its own
    (tmp_path / "a.db").touch()
    assert make(url.format(folder=tmp_path)).hide_parameters
