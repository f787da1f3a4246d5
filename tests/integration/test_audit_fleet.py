"""``worker audit`` of a control plane's database, of a fleet at work, and of Lightning runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, make_url, text

import worker
import worker.cli.audit as audit_command
from tests.support.command import call_worker
from tests.support.databases import Postgres, postgres  # noqa: F401
from tests.support.helpers import job, workflow
from worker.audit.order_laws import OrderBreach
from worker.cli.audit_sources import DatabaseCounts, audit_database, audit_file
from worker.cli.main import cli
from worker.errors import UsageError, WorkerError
from worker.fleet.control.store.store import Store
from worker.fleet.messaging.state_messages import RunEvents, RunState
from worker.fleet.monitor.fleet_audit import FleetAudit
from worker.fleet.notifications import Gap, Notification
from worker.workflow.save import to_execution_plan

FLOW = workflow(
    job("fn(s => { console.log('a'); return s; });", next={"b": "state.data.n > 0", "c": True}),
    job("fn(() => { throw new Error('no'); });", "b", next={"c": "on_job_failure"}),
    job("fn(s => s);", "c"),
)
CRASHES = workflow(job("fn(s => nope);"))
ENDLESS = workflow(job("fn(() => new Promise(() => {}));"))


async def run_orders(url: str) -> list[Notification]:
    """Run orders of all kinds on a fleet, and return what its followers were notified of."""
    seen: list[Notification] = []
    arrived = asyncio.Event()

    async def follow(client: worker.Client) -> None:
        async for batch in client.notifications():
            seen.extend(batch)
            arrived.set()

    async with worker.local_fleet(store=url) as client:
        following = asyncio.create_task(follow(client))
        await asyncio.sleep(0)
        for flow, n in ((FLOW, 0), (FLOW, 1), (CRASHES, 0)):
            order = await client.submit(plan=to_execution_plan(flow), input={"data": {"n": n}})
            await client.wait(order["last_run"])
        again = await client.retry(order["order_id"])
        await client.wait(again["last_run"])
        endless = await client.submit(plan=to_execution_plan(ENDLESS), input={})
        # Earlier, its last event might be the one that a test leaves out.
        while "step:start" not in [e["type"] for e in await client.all_events(endless["last_run"])]:
            await asyncio.sleep(0.01)
        await client.cancel(endless["order_id"])
        await client.wait(endless["last_run"])
        # Its state may come before its events.
        while not has_ended(seen, endless["last_run"]):
            arrived.clear()
            await arrived.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    return seen


def has_ended(seen: list[Notification], run_id: str) -> bool:
    """Return True where the last event of a run is among notifications."""
    return any(
        isinstance(each, RunEvents)
        and each.run_id == run_id
        and any(json.loads(bytes(raw))["type"] == "run:complete" for raw in each.events)
        for each in seen
    )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Notification]]:
    """The database of a fleet that has run orders, and the notifications of them."""
    file = tmp_path_factory.mktemp("fleet") / "orders.db"
    return file, asyncio.run(run_orders(f"sqlite:///{file}"))


def breaches_of(url: str) -> list[OrderBreach]:
    breaches: list[OrderBreach] = []
    audit_database(url, breaches.append)
    return breaches


# Statements that break a rule each, by the rule.
DAMAGE = [
    (8, "UPDATE runs SET phase = 'started' WHERE status = 'crashed'"),
    (8, "UPDATE runs SET status = 'running' WHERE status = 'success'"),
    (9, "DELETE FROM events WHERE type = 'run:complete'"),
    (9, "UPDATE runs SET status = 'failed', error_type = NULL WHERE status = 'success'"),
    (10, "UPDATE runs SET error_type = 'OomError' WHERE status = 'crashed'"),
    (11, "UPDATE runs SET number = 3 WHERE number = 2"),
    (11, "UPDATE orders SET status = 'failed' WHERE status = 'success'"),
    (11, "UPDATE orders SET last_run = 'x' WHERE status = 'success'"),
    (12, "DELETE FROM events; UPDATE runs SET status = 'lost', error_type = 'LostAfterStart'"),
    (1, "DELETE FROM events WHERE type = 'run:log'"),
    (1, "DELETE FROM events WHERE seq = 0"),
    (
        5,
        "UPDATE events SET body = replace(body, 'ReferenceError', 'RangeError') "
        "WHERE type = 'step:complete'",
    ),
]


def damaged(file: Path, folder: Path, statement: str) -> str:
    copy = folder / "copy.db"
    with (
        contextlib.closing(sqlite3.connect(file)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        target.executescript(statement)
        assert target.total_changes
        target.commit()
    return f"sqlite:///{copy}"


@pytest.mark.slow
def test_a_database_of_real_runs_follows_the_rules(fleet: tuple[Path, Any]) -> None:
    file, _ = fleet
    before = file.read_bytes()
    done = call_worker("audit", f"sqlite:///{file}")
    assert done.returncode == 0
    assert done.stdout.startswith(f"✓ sqlite:///{file}: 4 orders, 5 runs, ")
    assert file.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(("law", "statement"), DAMAGE)
def test_a_changed_row_breaks_a_rule(
    fleet: tuple[Path, Any], tmp_path: Path, law: int, statement: str
) -> None:
    breaches = breaches_of(damaged(fleet[0], tmp_path, statement))
    assert law in {breach.law for breach in breaches}


def test_the_command_names_order_run_and_event(fleet: tuple[Path, Any], tmp_path: Path) -> None:
    url = damaged(fleet[0], tmp_path, "DELETE FROM events WHERE seq = 2")
    done = call_worker("audit", url)
    assert done.returncode == 1
    assert "event 2: it has the number 3, expected 2 (rule 1)" in done.stdout
    line = json.loads(call_worker("audit", url, "--json").stdout.splitlines()[0])
    assert (line["rule"], line["event"]) == (1, 2)
    assert line["order"] and line["run"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("sqlite:///none/orders.db",), "there is no database none/orders.db"),
        (("mysql://x/y",), "is not a database of a control plane"),
        ((), "nothing to audit"),
    ],
)
def test_what_cannot_be_audited_is_named(arguments: tuple[str, ...], problem: str) -> None:
    done = call_worker("audit", *arguments)
    assert (done.returncode, problem in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ann:hunter22@localhost/orders",
        "mysql://localhost/orders?password=hunter22",
        "postgresql://ann:hunter22@localhost:port/orders",
        "postgresql://ann@127.0.0.1:1/orders?password=hunter22",
    ],
)
def test_no_error_has_the_password(url: str) -> None:
    with pytest.raises(WorkerError) as raised:
        audit_database(url, print)
    assert "hunter22" not in str(raised.value)


def test_a_port_that_is_no_number_is_a_mistake_in_the_url() -> None:
    with pytest.raises(UsageError, match="'postgresql://ann:…@localhost:port/x' is not a database"):
        Store("postgresql://ann:hunter22@localhost:port/x")


def test_a_result_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_command, "audit_database", lambda *_: DatabaseCounts())
    url = "postgresql://ann:hunter22@localhost/orders?password=hunter33"
    for arguments in ([url], [url, "--json"]):
        output = CliRunner().invoke(cli, ["audit", *arguments]).output
        assert "ann" in output and "hunter" not in output


def test_another_database_is_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE x (y)")
    done = call_worker("audit", f"sqlite:///{file}")
    assert done.returncode != 0 and "no such table: orders" in done.stderr


@pytest.mark.slow
def test_postgresql_is_read_only(postgres: Postgres) -> None:  # noqa: F811
    url = postgres.clear()
    asyncio.run(run_orders(url))
    assert breaches_of(url) == []
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE orders SET status = 'failed' WHERE status = 'success'"))
    engine.dispose()
    assert {breach.law for breach in breaches_of(url)} == {11}


# --- a fleet at work ------------------------------------------------------------------------------


def audit(notifications: list[Notification]) -> tuple[FleetAudit, list[OrderBreach]]:
    fleet_audit = FleetAudit()
    return fleet_audit, [b for each in notifications for b in fleet_audit.handle(each)]


def test_a_fleet_at_work_follows_the_rules(fleet: tuple[Any, list[Notification]]) -> None:
    fleet_audit, breaches = audit(fleet[1])
    assert breaches == []
    assert fleet_audit.runs == 5


def without_event(notifications: list[Notification], seq: int) -> list[Notification]:
    def changed(each: Notification) -> Notification:
        if not isinstance(each, RunEvents):
            return each
        events = [raw for raw in each.events if json.loads(bytes(raw))["seq"] != seq]
        return msgspec.structs.replace(each, events=events)

    return [changed(each) for each in notifications]


def test_a_missing_event_is_a_breach_of_each_run(fleet: tuple[Any, list[Notification]]) -> None:
    _, breaches = audit(without_event(fleet[1], 2))
    assert [(breach.law, breach.event) for breach in breaches] == [(1, 2)] * 5
    assert len({breach.run for breach in breaches}) == 5


def test_events_that_may_have_been_missed_are_no_breach(
    fleet: tuple[Any, list[Notification]],
) -> None:
    _, breaches = audit([Gap(), *without_event(fleet[1], 0)])
    assert breaches == []


def test_a_final_status_that_changes_is_a_breach(fleet: tuple[Any, list[Notification]]) -> None:
    states = [each for each in fleet[1] if isinstance(each, RunState)]
    final = next(state for state in states if state.status == "success")
    changed = msgspec.structs.replace(final, status="failed")
    _, breaches = audit([*fleet[1], changed])
    assert [breach.law for breach in breaches] == [8, 9]


# --- Lightning ------------------------------------------------------------------------------------

LIGHTNING: dict[str, Any] = {
    "id": "r1",
    "state": "success",
    "starting_node_id": "t",
    "dataclip_id": "d0",
    "triggers": [{"id": "t", "type": "webhook"}],
    "jobs": [
        {"id": "fetch", "adaptor": "http@7.2.10", "body": "get('https://x.test/');"},
        {"id": "send", "adaptor": "common@3.3.4", "body": "fn(s => s);"},
    ],
    "edges": [
        {"id": "e1", "source_trigger_id": "t", "target_job_id": "fetch", "condition_type": "always"},
        {"id": "e2", "source_job_id": "fetch", "target_job_id": "send", "condition_type": "always"},
    ],
    "steps": [
        {"id": "s1", "job_id": "fetch", "exit_reason": "success", "input_dataclip_id": "d0",
         "output_dataclip_id": "d1", "started_at": "2026-03-01T08:00:00Z",
         "finished_at": "2026-03-01T08:00:01Z"},
        {"id": "s2", "job_id": "send", "exit_reason": "success", "input_dataclip_id": "d1",
         "output_dataclip_id": "d2", "started_at": "2026-03-01T08:00:02Z",
         "finished_at": "2026-03-01T08:00:03Z"},
    ],
    "dataclips": [],
    "logs": [],
}  # fmt: skip
FAILS = {"exit_reason": "fail", "error_type": "RuntimeError"}


@pytest.mark.parametrize(
    ("run", "last", "law"),
    [
        ({}, {}, None),
        ({"state": "failed"}, FAILS, None),
        ({"state": "failed"}, {"exit_reason": "fail", "error_type": "AdaptorError"}, None),
        ({"state": "killed"}, {"exit_reason": "kill", "error_type": "OOMError"}, None),
        ({"state": "crashed"}, {"exit_reason": "crash", "error_type": "RuntimeCrash"}, None),
        ({"state": "success"}, FAILS, 7),
        ({"state": "failed"}, {}, 5),
        ({"state": "crashed"}, {"exit_reason": "crash", "error_type": "OOMError"}, 5),
        ({}, {"started_at": "2026-03-01T08:00:00.5Z"}, 1),
        ({}, {"input_dataclip_id": "d9"}, 4),
    ],
)
def test_a_lightning_run(
    tmp_path: Path, run: dict[str, Any], last: dict[str, Any], law: int | None
) -> None:
    file = tmp_path / "run.json"
    first, second = LIGHTNING["steps"]
    file.write_text(json.dumps({**LIGHTNING, **run, "steps": [first, {**second, **last}]}))
    audited = audit_file(file)
    assert audited.damage == ""
    assert (audited.breach and audited.breach.law) == law, audited.breach


def test_a_lightning_run_of_an_unknown_state_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({**LIGHTNING, "state": "odd"}))
    assert "unknown state 'odd' (expected one of" in audit_file(file).damage
