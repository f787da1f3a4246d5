"""Cron triggers: schedules over changes of the clock, and ticks that fire once."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from sqlalchemy import select
from sqlalchemy.event import listen

from tests.support.control_plane_harness import (
    BEGAN,
    SECOND,
    ControlPlaneHarness,
    FakeWorker,
    event,
    plan,
)
from worker.fleet.control.plane_metrics import Measurements
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.store import statements, tables
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers import cron as cron_firing
from worker.fleet.control.triggers.cron_schedule import check_schedule, due_ticks, next_tick
from worker.fleet.messaging.trigger_messages import CronTrigger

MINUTE = 60 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVERYTHING = Policy(allows_everything=True)


def cron(expression: str, **fields: Any) -> CronTrigger:
    return CronTrigger(name="t", start="a", expression=expression, **fields)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def at(text: str) -> int:
    return micros(datetime.fromisoformat(text))


# --- the rules ------------------------------------------------------------------------------------

CHANGES = {
    "Europe/Berlin": ("2026-03-28T00:00Z", "2026-10-24T00:00Z"),
    "America/New_York": ("2026-03-07T00:00Z", "2026-10-31T00:00Z"),
    # Half an hour, and in the other half of the year.
    "Australia/Lord_Howe": ("2026-04-04T00:00Z", "2026-10-03T00:00Z"),
}


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00Z", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("Europe/Berlin", "0 * * * *", "2026-03-29T00:30Z", ["2026-03-29T01:00Z", "2026-03-29T02:00Z"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00Z", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        ("America/New_York", "15 2 * * *", "2026-03-07T12:00Z", ["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00Z", ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"]),
        ("UTC", "@daily", "2026-12-31T12:00Z", ["2027-01-01T00:00Z", "2027-01-02T00:00Z"]),
    ],
)  # fmt: skip
def test_daylight_saving(zone: str, expression: str, after: str, expected: list[str]) -> None:
    trigger, time, ticks = cron(expression, timezone=zone), at(after), []
    for _ in expected:
        time = next_tick(trigger, time) or 0
        ticks.append(time)
    assert ticks == [at(text) for text in expected]


@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "*/20 * * * *", "10 1,2,3 * * *", "0 * * * *"]
)
def test_every_time_leads_to_the_tick_that_follows(zone: str, expression: str) -> None:
    trigger, rng = cron(expression, timezone=zone), random.Random(7)
    for began in CHANGES[zone]:
        start = datetime.fromisoformat(began).astimezone(ZoneInfo(zone))
        whole = [micros(tick) for tick in islice(CronSim(expression, start), 160)]
        assert whole == sorted(set(whole))
        for _ in range(40):
            time = rng.randrange(whole[0] - 1, whole[-2])
            assert next_tick(trigger, time) == next(tick for tick in whole if tick > time)


@pytest.mark.parametrize(
    ("catch_up", "pause_s", "fired", "missed"),
    [
        ("skip", 20, [0], False),
        ("skip", 600, [540, 600], True),
        ("skip", 630, [600], True),
        ("one", 630, [600], True),
        ("all", 630, [60 * number for number in range(11)], False),
    ],
)
def test_catch_up(catch_up: Any, pause_s: int, fired: list[int], missed: bool) -> None:
    trigger, first = cron("* * * * *", catch_up=catch_up), at("2026-05-01T10:00Z")
    due = due_ticks(trigger, first, first + pause_s * SECOND)
    assert [(tick - first) // SECOND for tick in due.fire] == fired
    assert due.missed is missed
    assert due.next_us == first + (pause_s // 60 + 1) * MINUTE


def test_one_catches_up_on_a_day_and_skip_does_not() -> None:
    first = at("2026-05-01T02:00Z")
    for catch_up, fired in (
        ("skip", []),
        ("one", [first + 86_400 * SECOND]),
        ("all", [first, first + 86_400 * SECOND]),
    ):
        trigger = cron("0 2 * * *", catch_up=catch_up)
        due = due_ticks(trigger, first, first + 40 * 3600 * SECOND)
        assert list(due.fire) == fired, catch_up
        assert due.next_us == first + 2 * 86_400 * SECOND


def test_years_of_minutes_are_caught_up_in_parts() -> None:
    trigger, first = cron("* * * * *", catch_up="all"), at("2020-01-01T00:00Z")
    due = due_ticks(trigger, first, at("2026-01-01T00:00Z"))
    assert len(due.fire) == 100
    assert due.next_us == first + 100 * MINUTE


@pytest.mark.slow
@pytest.mark.parametrize(
    "expression",
    ["* * * *", "* * * * * *", "60 * * * *", "0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6 *", "", "@often",
     "*/0 * * * *", "@DAILY", "@daily ", "@every 5m", "-1 * * * *", "1-0 * * * *", "0 0 ? * *",
     "H H * * *", "0 0 * * 6-1", "1,,2 * * * *", "\u0663 * * * *", "* * * * *\n* * * * *"],
)  # fmt: skip
def test_what_is_no_schedule(expression: str) -> None:
    with pytest.raises(ValueError, match=r"fields|is not a schedule|expected one of @hourly"):
        check_schedule(expression, "UTC")


@pytest.mark.parametrize(
    "zone", ["", "utc", "Mars/Phobos", "../etc/passwd", "/etc/localtime", "localtime", "posixrules",
             "right/UTC", "Europe/", "zone.tab", "Europe/Berlin "]
)  # fmt: skip
def test_what_is_no_time_zone_of_all_machines(zone: str) -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        check_schedule("@daily", zone)


# --- the fleet ------------------------------------------------------------------------------------


@pytest.fixture
def operator(store: Store) -> ControlPlaneHarness:
    return ControlPlaneHarness(store, policy=EVERYTHING)


def deploy(harness: ControlPlaneHarness, expression: str = "* * * * *", **fields: Any) -> None:
    trigger = {"type": "cron", "name": "t", "start": "a", "expression": expression, **fields}
    harness.call("deploy", workflows=[{"plan": plan("nightly"), "triggers": [trigger]}])


def orders(harness: ControlPlaneHarness) -> list[dict[str, Any]]:
    return sorted(
        harness.call("orders", workflow="nightly"), key=lambda order: int(order["created"])
    )


def outcomes(harness: ControlPlaneHarness) -> dict[int, str]:
    """Return the outcome of each tick, by the minutes since the harness began."""
    with harness.store.read() as connection:
        rows = connection.execute(select(tables.TRIGGER_TICKS)).mappings()
        return {(row["tick"] - BEGAN) // MINUTE: row["outcome"] for row in rows}


def pass_minutes(harness: ControlPlaneHarness, minutes: int) -> None:
    """Advance the clock, with one tick of the control plane a minute."""
    for _ in range(minutes):
        harness.pass_time(60)
        harness.tick()


def finish(harness: ControlPlaneHarness, state: Any = None) -> None:
    """Let a worker run what waits, to a final state."""
    worker = FakeWorker(harness)
    for assigned in worker.claim(10):
        worker.start(assigned.lease)
        run_id = assigned.lease.run_id
        final = event(run_id, 1, "run:complete", final_dataclip_id="f", final_state=state or {})
        assert worker.acked(assigned.lease, final).upto == 1


def test_ticks_fire_once_over_two_planes_and_restarts(operator: ControlPlaneHarness) -> None:
    deploy(operator)
    other = ControlPlaneHarness(operator.store, policy=EVERYTHING, connect=False)
    began = operator.now
    for second in range(0, 600, 15):
        for harness in (operator, other) if second % 2 else (other, operator):
            harness.now = began + second * SECOND
            if second % 60 == 45:
                harness.start()
            harness.tick()
    minutes = 9
    assert len(orders(operator)) == minutes
    assert list(outcomes(operator).values()) == ["fired"] * minutes


@pytest.mark.slow
@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("change", [0, 1])
def test_no_tick_of_two_planes_is_lost_or_doubled_over_a_change_of_the_clock(
    zone: str, change: int, operator: ControlPlaneHarness
) -> None:
    began = operator.now = at(CHANGES[zone][change])
    for expression, name in (("*/30 * * * *", "often"), ("30 2 * * *", "daily")):
        trigger = {"type": "cron", "name": "t", "start": "a", "expression": expression}
        version = {"plan": plan(name), "triggers": [{**trigger, "timezone": zone}]}
        operator.call("deploy", workflows=[version])
    other = ControlPlaneHarness(operator.store, policy=EVERYTHING, connect=False)
    other.numbers = count(1_000_000)  # ids of its own, as real ones are random
    # Each tick at its second, by a plane that has just begun and one that has not, and once more.
    for minute in range(30, 2 * 24 * 60 + 1, 30):
        planes = (operator, other) if minute % 60 else (other, operator)
        for harness, second in ((planes[0], 0), (planes[1], 0), (planes[0], 20)):
            harness.now = began + (minute * 60 + second) * SECOND
            if minute % 60 == 0 and second == 0:
                harness.start()
            harness.tick()
    with operator.store.read() as connection:
        names = {row.id: row.workflow for row in connection.execute(select(tables.TRIGGERS))}
        rows = connection.execute(select(tables.TRIGGER_TICKS)).all()
    fired = {
        name: sorted(row.tick for row in rows if names[row.trigger_id] == name)
        for name in names.values()
    }
    assert {row.outcome for row in rows} == {"fired"}
    assert fired["often"] == [began + half * 30 * MINUTE for half in range(1, 2 * 48 + 1)]
    days = [
        (EPOCH + timedelta(microseconds=tick)).astimezone(ZoneInfo(zone)) for tick in fired["daily"]
    ]
    assert len({day.date() for day in days}) == len(days) == 2
    listed = sum(len(operator.call("orders", workflow=name, limit=1000)) for name in fired)
    assert listed == len(rows)


def test_the_cursor_is_the_last_final_state(operator: ControlPlaneHarness) -> None:
    deploy(operator)
    pass_minutes(operator, 1)
    worker = FakeWorker(operator)
    (assigned,) = worker.claim()
    assert bytes(assigned.input) == b"{}"
    assert assigned.options.start == "a"
    worker.start(assigned.lease)
    final = event(
        assigned.lease.run_id, 1, "run:complete", final_dataclip_id="f", final_state={"cursor": 5}
    )
    worker.acked(assigned.lease, final)
    pass_minutes(operator, 1)
    (second,) = worker.claim()
    assert bytes(second.input) == b'{"cursor":5}'
    worker.start(second.lease)
    # A run that fails leaves the cursor as it is.
    worker.acked(second.lease, event(second.lease.run_id, 1, "run:complete", reason="fail",
                                     final_dataclip_id="f", final_state={"cursor": 6}))  # fmt: skip
    pass_minutes(operator, 1)
    (third,) = worker.claim()
    assert bytes(third.input) == b'{"cursor":5}'


def test_the_cursor_of_a_job_is_its_last_output(operator: ControlPlaneHarness) -> None:
    deploy(operator, cursor_job="b")
    pass_minutes(operator, 1)
    worker = FakeWorker(operator)
    (first,) = worker.claim()
    worker.start(first.lease)
    id = first.lease.run_id
    ends = [
        event(id, number * 2, "step:complete", job_id=job, step_id=job,
              output_dataclip_id=job, output_dataclip={"job": job})
        for number, job in ((1, "b"), (2, "a"))
    ]  # fmt: skip
    starts = [
        event(id, number, "step:start", job_id=job, step_id=job)
        for number, job in ((1, "b"), (3, "a"))
    ]
    worker.report(first.lease, starts[0], ends[0], starts[1], ends[1])
    pass_minutes(operator, 1)
    (second,) = worker.claim()
    assert bytes(second.input) == b'{"job":"b"}'


def test_the_cursor_of_a_job_reads_one_output_of_many(operator: ControlPlaneHarness) -> None:
    deploy(operator, cursor_job="b", overlap="allow")
    for number in range(3):
        pass_minutes(operator, 1)
        worker = FakeWorker(operator)
        (run,) = worker.claim()
        worker.start(run.lease)
        id = run.lease.run_id
        worker.report(
            run.lease,
            event(id, 1, "step:start", job_id="b"),
            event(id, 2, "step:complete", job_id="b", output_dataclip_id="b",
                  output_dataclip={"number": number}),
        )  # fmt: skip
    executed: list[Prepared] = []
    rows = Prepared.rows

    def note(statement: Prepared, *arguments: Any) -> Any:
        executed.append(statement)
        return rows(statement, *arguments)

    with operator.store.read() as connection:
        engine = connection.engine
    others: list[str] = []
    listen(engine, "before_cursor_execute", lambda *each: others.append(each[2]))
    with patch.object(Prepared, "rows", note):
        pass_minutes(operator, 1)
    assert executed.count(statements.DATACLIP) == 1, "the output of one step, by its key"
    assert not [text for text in others if "clips.text" in text]
    assert bytes(FakeWorker(operator).claim()[0].input) == b'{"number":2}'


@pytest.mark.parametrize(
    ("overlap", "after_two", "after_end"),
    [
        ("allow", ["pending", "pending"], 3),
        ("skip", ["pending"], 2),
        ("queue", ["pending"], 2),
        ("replace", ["cancelled", "pending"], 3),
    ],
)
def test_overlap(
    operator: ControlPlaneHarness, overlap: str, after_two: list[str], after_end: int
) -> None:
    deploy(operator, overlap=overlap)
    pass_minutes(operator, 2)
    assert [order["status"] for order in orders(operator)] == after_two
    finish(operator)
    if overlap == "queue":
        # The tick that waited fires as soon as the order before it has ended.
        operator.wait(1)
    else:
        pass_minutes(operator, 1)
    assert len(orders(operator)) == after_end


def test_a_disabled_trigger_is_silent_and_starts_afresh(operator: ControlPlaneHarness) -> None:
    deploy(operator, enabled=False, catch_up="all")
    pass_minutes(operator, 5)
    assert orders(operator) == []
    deploy(operator, catch_up="all")
    pass_minutes(operator, 1)
    assert len(orders(operator)) == 1
    deploy(operator, enabled=False, catch_up="all")
    pass_minutes(operator, 5)
    assert len(orders(operator)) == 1


def test_a_new_version_keeps_the_tick_that_is_due(operator: ControlPlaneHarness) -> None:
    deploy(operator)
    operator.pass_time(61)
    deploy(operator, overlap="skip")
    operator.tick()
    assert len(orders(operator)) == 1


def test_the_delay_of_a_tick_is_measured(operator: ControlPlaneHarness) -> None:
    deploy(operator)
    measured = Measurements()
    measured.add(operator.processor.tick(BEGAN + 2 * MINUTE + 5 * SECOND))
    assert measured.tick_delay_s.total == 5.0
    assert "tick_delay_seconds" in {metric.name for metric in measured.metrics()}


def test_a_rejected_tick_is_a_rejected_order(store: Store) -> None:
    limits = ProjectLimits(concurrent=1)
    harness = ControlPlaneHarness(store, policy=Policy(allows_everything=True, default=limits))
    deploy(harness)
    pass_minutes(harness, 2)
    assert [order["status"] for order in orders(harness)] == ["pending", "rejected"]


def test_a_paused_workflow_fires_nothing(operator: ControlPlaneHarness) -> None:
    deploy(operator, catch_up="one")
    operator.call("pause", workflow="nightly", project="default")
    pass_minutes(operator, 5)
    assert orders(operator) == []
    operator.call("resume", workflow="nightly", project="default")
    operator.tick()
    assert len(orders(operator)) >= 1


@pytest.mark.parametrize(
    ("pause", "overlap"),
    [
        ({"workflow": "nightly"}, "allow"),
        ({"project": "p"}, "allow"),
        ({"workflow": "nightly", "project": "p"}, "queue"),
    ],
    ids=lambda value: str(value),
)
def test_what_is_paused_takes_the_place_of_no_other_schedule(
    operator: ControlPlaneHarness,
    monkeypatch: pytest.MonkeyPatch,
    pause: dict[str, str],
    overlap: str,
) -> None:
    monkeypatch.setattr(cron_firing, "MAX_TRIGGERS", 2)
    trigger = {"type": "cron", "start": "a", "expression": "* * * * *", "overlap": overlap}
    names = [{**trigger, "name": name} for name in ("a", "b", "c")]
    workflows = [{"plan": plan("nightly"), "triggers": names}]
    operator.call("deploy", project="p", workflows=workflows)
    if overlap == "queue":
        pass_minutes(operator, 2)
    before = len(orders(operator))
    operator.call("pause", **pause)
    operator.pass_time(60)
    other = {"plan": plan("other-one"), "triggers": [{**trigger, "name": "t"}]}
    operator.call("deploy", workflows=[other])
    pass_minutes(operator, 2)
    assert len(operator.call("orders", workflow="other-one")) >= 1
    assert len(orders(operator)) == before


def test_ticks_that_wait_take_the_place_of_no_other_schedule(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement: Any = cron_firing._WAITING._statement
    monkeypatch.setattr(cron_firing, "_WAITING", Prepared(statement.limit(2)))
    trigger = {"type": "cron", "start": "a", "expression": "* * * * *", "overlap": "queue"}
    names = [{**trigger, "name": f"t{number}"} for number in range(5)]
    operator.call("deploy", workflows=[{"plan": plan("nightly"), "triggers": names}])
    pass_minutes(operator, 2)
    first = orders(operator)
    assert len(first) == 5, "the second tick of each waits for the order of the first"
    for order in first:
        operator.call("cancel", id=order["order_id"])
        operator.tick()
        operator.tick()
    assert len(orders(operator)) == 10


def test_a_pause_of_the_fleet_skips_unless_told_otherwise(operator: ControlPlaneHarness) -> None:
    deploy(operator, "0 * * * *")
    operator.pass_time(5 * 3600 + 1800)
    operator.restart()
    operator.tick()
    assert orders(operator) == []
    deploy(operator, "0 * * * *", catch_up="all")
    operator.pass_time(5 * 3600)
    operator.tick()
    assert len(orders(operator)) == 5
