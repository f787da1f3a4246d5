"""What a control plane decides, on SQLite and on PostgreSQL: the same suite for both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from tests.helpers import job, workflow
from tests.planes import (
    PLAN,
    SECOND,
    TOPICS,
    Bench,
    acks,
    binaries,
    database,
    event,
    kinds,
    report,
    request,
    word,
)  # fmt: skip
from worker.control.batch import Settings
from worker.control.lifecycle import ATTEMPTS
from worker.control.policy import Limit, Policy
from worker.control.store import tables
from worker.control.store.store import Store, StoreError
from worker.errors import UsageError
from worker.plan.save import plan_of
from worker.transports import wire
from worker.transports.bus import Message

Make = Callable[..., Bench]
QUICK = Settings(lease_s=4, grace_s=1)


@pytest.fixture(
    params=[pytest.param(kind, marks=pytest.mark.xdist_group(f"store-{kind}")) for kind in kinds()]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgresql" and binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with database(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """Makes a bench on a fresh store; what must hold of it is checked at the end."""
    made: list[Bench] = []

    def bench(**options: Any) -> Bench:
        store = Store(url)
        store.migrate()
        made.append(Bench(store, **options))
        return made[-1]

    yield bench
    for one in made:
        one.check()
        one.store.close()


# --- claims and leases ----------------------------------------------------------------------------


def test_a_run_goes_from_its_order_to_its_end(make: Make) -> None:
    bench = make()
    order = bench.submit("o")
    assert order["status"] == order["run"]["status"] == "pending"
    [run] = bench.claim()
    assert (run.lease.run_id, run.lease.attempt) == (order["last_run"], 1)
    assert bench.status("o") == "pending"
    assert bench.start(run.lease).upto == 0
    assert bench.status("o") == "running"
    assert bench.finish(run.lease).upto == 1
    assert bench.status("o") == "success"
    assert bench.states(order["last_run"]) == ["pending", "running", "success"]


def test_a_claim_that_is_repeated_gets_the_same_runs(make: Make) -> None:
    bench = make()
    for _ in range(3):
        bench.submit()
    first = bench.claim(demand=2, id="c")
    assert len(first) == 2
    assert bench.claim(demand=2, id="c") == first
    bench.start(first[0].lease)
    assert bench.claim(demand=2, id="c") == first[1:]


def test_a_claim_waits_for_what_comes(make: Make) -> None:
    bench = make()
    assert bench.claim(id="c") == []
    said = bench.hear(request("submit", wire.encode(wire.Submit(order_id="o", plan=raw(PLAN)))))
    assert TOPICS.worker("w", "rsp") in [one.topic for one in said.messages]


def test_a_claim_that_is_withdrawn_gets_nothing(make: Make) -> None:
    bench = make()
    bench.claim(id="c")
    bench.claim(id="c", demand=0)
    bench.submit("o")
    assert bench.run("o").get("worker") is None
    assert len(bench.claim()) == 1


def test_a_claim_of_another_workers_claim_gives_nothing(make: Make) -> None:
    bench = make()
    bench.submit()
    assert len(bench.claim("w", id="c")) == 1
    assert bench.claim("thief", id="c") == []


def test_a_lease_that_expires_before_the_start_goes_back_to_the_queue(make: Make) -> None:
    bench = make(settings=QUICK)
    first = bench.lease()
    bench.pass_time(5)
    [again] = bench.claim("other")
    assert (again.lease.run_id, again.lease.attempt) == (first.run_id, 2)
    assert again.lease.token != first.token
    # The first one is too late now.
    ack = bench.start(first)
    assert ack.refused.startswith("stale")
    assert bench.start(again.lease, "other").refused == ""


def test_a_lease_that_expires_too_often_is_lost(make: Make) -> None:
    bench = make(settings=QUICK)
    lease = bench.lease()
    for attempt in range(2, ATTEMPTS + 1):
        bench.pass_time(5)
        [run] = bench.claim()
        assert run.lease.attempt == attempt
    bench.pass_time(5)
    run = bench.run(lease.run_id)
    assert (run["status"], run["error_type"]) == ("lost", "LostAfterClaim")
    assert [one.run_id for one in bench.alerts] == [lease.run_id]


def test_a_run_that_was_started_and_is_silent_is_lost(make: Make) -> None:
    bench = make(settings=QUICK)
    lease = bench.lease()
    bench.start(lease)
    bench.pass_time(3)
    assert bench.beat(lease) == []
    bench.pass_time(3)
    assert bench.status(lease.run_id) == "running"
    bench.pass_time(2)
    run = bench.run(lease.run_id)
    assert (run["status"], run["error_type"]) == ("lost", "LostAfterStart")
    assert bench.beat(lease) == [
        wire.Command(abandon=[wire.Attempt(run_id=lease.run_id, attempt=1)])
    ]
    assert bench.claim() == []


def test_no_lease_expires_while_the_control_plane_is_away(make: Make) -> None:
    bench = make(settings=QUICK)
    lease = bench.lease()
    bench.start(lease)
    bench.plane.disconnected()
    bench.pass_time(60)
    assert bench.states(lease.run_id)[-1] == "running"
    bench.connect()
    bench.pass_time(3)
    assert bench.status(lease.run_id) == "running"
    bench.pass_time(2)
    assert bench.status(lease.run_id) == "lost"


def test_no_lease_expires_because_the_control_plane_itself_was_held_up(make: Make) -> None:
    bench = make(settings=QUICK)
    lease = bench.lease()
    bench.start(lease)
    bench.now += 60 * SECOND
    bench.pass_time(1)
    assert bench.status(lease.run_id) == "running"
    bench.restart()
    bench.pass_time(3)
    assert bench.status(lease.run_id) == "running"


def test_a_will_leaves_only_the_grace(make: Make) -> None:
    bench = make(settings=QUICK)
    lease = bench.lease()
    bench.start(lease)
    bench.presence(online=False)
    bench.pass_time(1.5)
    assert bench.status(lease.run_id) == "lost"


def test_a_heartbeat_after_a_will_restores_the_lease(make: Make) -> None:
    bench = make(settings=QUICK)
    lease = bench.lease()
    bench.start(lease)
    bench.presence(online=False)
    bench.presence(online=True)
    bench.beat(lease)
    bench.pass_time(3)
    assert bench.status(lease.run_id) == "running"


def test_a_will_of_an_older_incarnation_says_nothing(make: Make) -> None:
    bench = make(settings=QUICK)
    bench.presence(incarnation="w-1", online=True)
    lease = bench.lease()
    bench.start(lease)
    bench.presence(incarnation="w-0", online=False)
    bench.presence(incarnation="w-0", online=True)
    bench.pass_time(2)
    assert bench.status(lease.run_id) == "running"
    assert {one.kind for one in bench.refusals} == {"stale"}


def test_a_newer_incarnation_ends_the_leases_of_the_one_before(make: Make) -> None:
    bench = make(settings=QUICK)
    lease = bench.lease()
    bench.start(lease)
    bench.presence(incarnation="w-2", online=True)
    bench.pass_time(1.5)
    assert bench.status(lease.run_id) == "lost"


def test_a_run_that_is_handed_back_waits_again(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    bench.release(lease)
    [again] = bench.claim("other")
    assert again.lease.attempt == 2
    bench.start(again.lease, "other")
    bench.release(again.lease, worker="other")
    assert bench.status(lease.run_id) == "running"


# --- reports --------------------------------------------------------------------------------------


def test_what_is_reported_twice_is_kept_once(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    assert bench.start(lease).upto == bench.start(lease).upto == 0
    assert bench.finish(lease).upto == bench.finish(lease).upto == 1
    assert len(bench.rows(tables.EVENTS)) == 2
    assert bench.rows(tables.STALE) == []


def test_a_gap_is_not_taken(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    assert bench.report(lease, event(lease.run_id, 1, "run:complete", reason="success")).upto == -1
    assert bench.status(lease.run_id) == "pending"
    assert bench.start(lease).upto == 0


def test_nothing_is_taken_after_the_end(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    bench.start(lease)
    bench.finish(lease, "fail")
    more = event(lease.run_id, 2, "run:complete", reason="success")
    assert bench.report(lease, more).refused.startswith("stale")
    assert bench.status(lease.run_id) == "failed"
    assert [row["seq"] for row in bench.rows(tables.STALE)] == [2]
    assert bench.states(lease.run_id) == ["pending", "running", "failed"]


@pytest.mark.parametrize(
    "forged",
    [
        {"token": "x" * 22},
        {"attempt": 2},
        {"run_id": "elsewhere"},
    ],
)
def test_a_forged_lease_changes_nothing(make: Make, forged: dict[str, Any]) -> None:
    bench = make()
    lease = bench.lease()
    fields = {"run_id": lease.run_id, "attempt": 1, "token": lease.token, **forged}
    false = wire.Lease(**fields)
    before = bench.dump()
    assert bench.start(false).refused
    bench.beat(false)
    bench.release(false)
    assert bench.dump() == before
    kinds = {one.kind for one in bench.refusals}
    assert kinds == ({"unknown"} if "run_id" in forged else {"forged"})


def test_another_worker_cannot_use_a_lease(make: Make) -> None:
    bench = make()
    lease = bench.lease("w")
    before = bench.dump()
    assert bench.start(lease, "thief").refused
    bench.release(lease, worker="thief")
    assert bench.dump() == before


def test_events_of_another_run_refuse_the_whole_report(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    said = bench.hear(
        report(lease, event(lease.run_id, 0, "run:start"), event("x", 1, "run:start"))
    )
    assert [one.upto for one in acks(said, "w")] == [-1]
    assert [one.kind for one in said.refusals] == ["forged"]
    assert bench.status(lease.run_id) == "pending"


# --- clients --------------------------------------------------------------------------------------


def test_an_order_that_is_submitted_twice_is_one(make: Make) -> None:
    bench = make()
    assert bench.submit("o") == bench.submit("o")
    both = [request("submit", wire.encode(wire.Submit(order_id="p", plan=raw(PLAN))))] * 2
    bench.hear(*both)
    assert len(bench.rows(tables.RUNS)) == 2


def test_what_waits_is_cancelled_at_once(make: Make) -> None:
    bench = make()
    order = bench.submit("o")
    assert bench.cancel("o")["status"] == "cancelled"
    assert bench.cancel("o")["status"] == "cancelled"
    assert bench.claim() == []
    assert bench.states(order["last_run"]) == ["pending", "cancelled"]


def test_what_runs_is_cancelled_by_its_worker(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    bench.start(lease)
    assert bench.cancel(lease.run_id)["status"] == "running"
    told = wire.Command(cancel=[wire.Attempt(run_id=lease.run_id, attempt=1)])
    [command] = [one for one in bench.heard if one.topic == TOPICS.worker("w", "cmd")]
    assert wire.decode(wire.Command, command.payload) == told
    assert bench.beat(lease) == [told]  # said again, in case it was lost
    bench.finish(lease, "cancel")
    assert bench.status(lease.run_id) == "cancelled"


def test_what_was_claimed_and_cancelled_does_not_come_back(make: Make) -> None:
    bench = make(settings=QUICK)
    first, second = bench.lease(), bench.lease()
    bench.cancel(first.run_id)
    bench.cancel(second.run_id)
    bench.release(first)
    assert bench.status(first.run_id) == "cancelled"
    bench.pass_time(5)
    assert bench.status(second.run_id) == "cancelled"


def test_what_has_ended_cannot_be_cancelled(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    bench.start(lease)
    bench.finish(lease)
    assert bench.cancel(lease.run_id).startswith("conflict: run ")
    assert bench.cancel("nobody") == "unknown: there is no run and no order 'nobody'"


def test_an_order_has_the_status_of_its_last_run(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    bench.start(lease)
    bench.finish(lease, "fail")
    order_id = bench.run(lease.run_id)["order_id"]
    retried = bench.retry(lease.run_id, "again")
    assert (retried["status"], retried["runs"], retried["last_run"]) == ("pending", 2, "again")
    assert bench.retry(lease.run_id, "again")["runs"] == 2
    assert (
        bench.retry(order_id, "more") == "conflict: run again is pending: cancel it, or wait for it"
    )
    [run] = bench.claim()
    bench.start(run.lease)
    bench.finish(run.lease)
    found = bench.ask("order", wire.OrderRef(order_id=order_id))
    assert found["status"] == "success"
    assert [one["status"] for one in found["all_runs"]] == ["failed", "success"]


def test_a_retry_from_a_step_has_the_input_of_then(make: Make) -> None:
    bench = make()
    steps = workflow(job("fn(s => s)", next={"b": True}), job("fn(s => s)", "b"))
    bench.submit("o", plan_of(steps), input=raw({"data": {"n": 1}}))
    [run] = bench.claim()
    id = run.lease.run_id
    bench.report(
        run.lease,
        event(id, 0, "run:start"),
        event(id, 1, "step:start", step_id="1", job_id="a", input_dataclip_id="in", execution=0),
        event(id, 2, "step:complete", step_id="1", job_id="a", reason="success",
              output_dataclip_id="mid", output_dataclip={"data": {"n": 2}}),
        event(id, 3, "step:start", step_id="2", job_id="b", input_dataclip_id="mid", execution=0),
        event(id, 4, "run:complete", reason="fail"),
    )  # fmt: skip
    assert bench.retry("o", from_step="c").startswith("unknown: the input of 'c'")
    bench.retry("o", "second", from_step="b")
    [again] = bench.claim()
    assert (again.options.start, bytes(again.input)) == ("b", b'{"data":{"n":2}}')
    bench.start(again.lease)
    bench.finish(again.lease, "fail")
    bench.retry(id, "third", from_step="a")
    [first] = bench.claim()
    assert (first.options.start, bytes(first.input)) == ("a", b'{"data":{"n":1}}')


def test_a_state_is_kept_and_given_as_it_was(make: Make) -> None:
    bench = make()
    state = {
        "data": {"name": "Amélie \u0000 \U0001f9d1 </script>", "big": 2**60, "list": [None, 1.5]}
    }
    bench.submit("o", input=raw(state))
    [run] = bench.claim()
    import json

    assert json.loads(bytes(run.input)) == state


# --- admission and the queue ----------------------------------------------------------------------


def test_the_limit_of_unfinished_runs_rejects(make: Make) -> None:
    bench = make(policy=Policy(projects={"small": Limit(concurrent=1)}))
    assert bench.submit("a", project="small")["status"] == "pending"
    rejected = bench.submit("b", project="small")
    assert rejected["status"] == "rejected"
    assert rejected["reason"] == "project 'small' has 1 run under way, and its limit is 1"
    assert bench.submit("b", project="small") == rejected
    assert bench.submit("c", project="large")["status"] == "pending"
    assert bench.cancel("b") == "unknown: order b has no run: it was rejected"
    bench.cancel("a")
    assert bench.submit("d", project="small")["status"] == "pending"
    assert bench.retry("a").startswith("rejected: ")


def test_the_limit_of_a_period_rejects_until_the_next(make: Make) -> None:
    bench = make(policy=Policy(default=Limit(per_period=2, period_s=60)))
    bench.now -= bench.now % (60 * SECOND)
    assert [bench.submit()["status"] for _ in range(3)] == ["pending", "pending", "rejected"]
    bench.pass_time(61)
    assert bench.submit()["status"] == "pending"


def test_priority_goes_first_then_age(make: Make) -> None:
    bench = make()
    for id, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5)):
        bench.submit(id, priority=priority)
    assert [run.order_id for run in bench.claim(demand=4)] == ["b", "d", "a", "c"]


def test_projects_take_turns(make: Make) -> None:
    bench = make()
    for number in range(4):
        bench.submit(f"a{number}", project="a")
    bench.submit("b0", project="b")
    assert [run.order_id for run in bench.claim(demand=3)] == ["a0", "b0", "a1"]


def test_a_workflow_runs_no_more_often_at_once_than_it_may(make: Make) -> None:
    bench = make(policy=Policy(default=Limit(workflows={"test": 1})))
    for id in ("a", "b"):
        bench.submit(id)
    other = plan_of(workflow(job("fn(s => s)"))) | {}
    other["workflow"] = {**other["workflow"], "name": "other"}
    bench.submit("c", other)
    runs = bench.claim(demand=3)
    assert [run.order_id for run in runs] == ["a", "c"]
    bench.start(runs[0].lease)
    bench.finish(runs[0].lease)
    assert [run.order_id for run in bench.claim()] == ["b"]


def test_runs_are_dealt_out_in_turns(make: Make) -> None:
    bench = make()
    bench.claim("w", demand=5, id="c1")
    bench.claim("v", demand=5, id="c2")
    batch = [
        request("submit", wire.encode(wire.Submit(order_id=f"o{n}", plan=raw(PLAN))))
        for n in range(4)
    ]
    bench.hear(*batch)
    assert [bench.run(f"o{n}")["worker"] for n in range(4)] == ["w", "v", "w", "v"]


def test_two_control_planes_give_no_run_twice(make: Make, url: str) -> None:
    bench = make()
    for number in range(200):
        bench.submit(f"o{number}")
    got: dict[str, list[str]] = {"x": [], "y": []}

    def work(worker: str) -> None:
        store = Store(url)
        other = Bench(store)
        while len(got["x"]) + len(got["y"]) < 200:
            got[worker] += [run.order_id for run in other.claim(worker, demand=7)]
        store.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got["x"] + got["y"]) == sorted(f"o{number}" for number in range(200))


# --- alerts, restarts, retention ------------------------------------------------------------------


def test_the_superuser_is_told_again_after_a_restart_until_it_is_noted(make: Make) -> None:
    bench = make()
    lease = bench.lease()
    bench.start(lease)
    bench.finish(lease, "exception")
    assert [one.status for one in bench.alerts] == ["exception"]
    bench.restart()
    assert len(bench.alerts) == 2
    bench.plane.notified([lease.run_id], bench.now)
    bench.restart()
    assert len(bench.alerts) == 2


def test_states_are_said_again_after_a_restart(make: Make) -> None:
    bench = make()
    bench.pass_time(5)
    order = bench.submit("o")
    bench.heard.clear()
    bench.restart()
    assert bench.states(order["last_run"]) == ["pending"]


def test_what_ended_long_ago_is_forgotten(make: Make) -> None:
    bench = make(settings=Settings(keep_s=1000))
    for id in ("old", "young", "going"):
        bench.submit(id)
    runs = {run.order_id: run.lease for run in bench.claim(demand=3)}
    for lease in runs.values():
        bench.start(lease)
    bench.finish(runs["old"], "exception")
    # Heartbeats in between, so that nothing is lost.
    for _ in range(200):
        bench.beat(*runs.values())
        bench.pass_time(5)
    bench.finish(runs["young"])
    bench.beat(runs["going"])
    bench.pass_time(70 - 70 % 5)
    assert "unknown" in bench.ask("run", wire.RunRef(id="old"))
    assert bench.status("young") == "success"
    kept = bench.dump()
    for table in ("orders", "runs", "events", "clips", "alerts"):
        for row in kept[table]:
            assert "old" not in str(row), table


def test_orders_are_listed_and_found(make: Make) -> None:
    bench = make()
    for id, project in (("a1", "north"), ("a2", "south"), ("b%1", "north")):
        bench.submit(id.replace("%", "."), project=project)
    bench.cancel("a1")

    def listed(**query: Any) -> list[str]:
        return [one["order_id"] for one in bench.ask("orders", wire.OrderQuery(**query))]

    assert listed() == ["b.1", "a2", "a1"]
    assert listed(status="cancelled") == ["a1"]
    assert listed(project="north") == ["b.1", "a1"]
    assert listed(search="A") == ["a2", "a1"]
    assert listed(search="%") == []
    assert listed(limit=1) == ["b.1"]
    summary = bench.ask("summary", wire.Nothing())
    assert summary["orders"] == {"pending": 2, "cancelled": 1}
    assert (summary["available"], summary["leased"]) == (2, 0)


def raw(value: Any) -> Any:
    import msgspec

    return msgspec.Raw(msgspec.json.encode(value))


# --- the store ------------------------------------------------------------------------------------


def test_the_migrated_tables_are_those_of_the_code(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    store = Store(url)
    store.migrate()
    store.migrate()
    store.close()
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, tables.METADATA) == []
    engine.dispose()


def test_a_database_of_a_newer_version_is_refused(url: str) -> None:
    store = Store(url)
    store.migrate()
    with store.work() as work:
        work.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer version"):
        store.migrate()
    store.close()


def test_what_is_no_database_is_said() -> None:
    with pytest.raises(UsageError, match="names no database"):
        Store("orders.db")
    with pytest.raises(UsageError, match="use sqlite or postgresql"):
        Store("mysql://localhost/x")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store("sqlite:////proc/nowhere.db").migrate()


def test_one_bad_message_does_not_stop_the_others_of_its_batch(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours in one handler is noted; what came with it is done."""
    bench = make()
    beats = bench.plane._desk.methods
    monkeypatch.setitem(beats, "alerts", lambda batch, shape: 1 / 0)
    said = bench.hear(
        request("alerts", b"{}"),
        request("submit", wire.encode(wire.Submit(order_id="o", plan=raw(PLAN)))),
    )
    assert [one.kind for one in said.refusals] == ["defect"]
    bench.refusals.clear()
    assert bench.status("o") == "pending"


def test_what_is_not_for_it_is_refused(make: Make) -> None:
    bench = make()
    before = bench.dump()
    bench.hear(
        Message(topic="elsewhere", payload=b""),
        word("w", "claim", wire.Nothing()),
        Message(topic=TOPICS.worker("w", "reports"), payload=b"x" * (33 * 2**20)),
    )
    assert [one.kind for one in bench.refusals] == ["unknown", "malformed", "oversized"]
    assert bench.ask("nothing", wire.Nothing()) == "unknown: there is no request 'nothing'"
    assert bench.dump() == before
