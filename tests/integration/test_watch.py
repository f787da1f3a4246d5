"""The monitor of a fleet, and ``worker watch``."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tests.support.dashboard_fleet import DashboardFleet, dashboard_fleet
from tests.support.scripted_worker import LoggingExecutor
from worker.core.events import StepStart
from worker.fleet.client import Client
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.broker import Broker, free_port
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.state_messages import Alert, OrderState, RunEvents, RunState
from worker.fleet.messaging.topics import Topics
from worker.fleet.monitor.changes import format_json, format_line
from worker.fleet.monitor.decode import decode_events, events_from_reply
from worker.fleet.monitor.run_tracker import MAX_RUNS, WINDOW_S, RunTracker, TrackedRun
from worker.fleet.monitor.screen import render_screen, sparkline
from worker.fleet.monitor.snapshot import Snapshot
from worker.fleet.notifications import MAX_QUEUED_NOTIFICATIONS, Gap

WORKER = str(Path(sys.executable).with_name("worker"))
TOPICS = Topics()
HOSTILE = "<b>\x1b[31m\u202e[bold]x[/bold]\r\n"
T = 1_700_000_000_000_000


def state(run_id: str = "r-1", status: Any = "running", **fields: Any) -> RunState:
    known = {"number": 1, "attempt": 1, "priority": 0, "created": T, "project": "p"}
    given = {"order_id": "o-1", "workflow": "referral", **known, **fields}
    return RunState(run_id=run_id, status=status, **given)


def events(*several: dict[str, Any], run_id: str = "r-1") -> RunEvents:
    raw = [
        msgspec.Raw(json.dumps({"run_id": run_id, "seq": n, "timestamp": T, **one}).encode())
        for n, one in enumerate(several)
    ]
    return RunEvents(run_id=run_id, attempt=1, events=raw)


START = {
    "type": "step:start",
    "job_id": "a",
    "job_name": "Fetch",
    "step_id": "s",
    "input_dataclip_id": "c",
    "execution": 0,
}
DONE = {"type": "step:complete", "job_id": "a", "step_id": "s", "reason": "success"}


# --- the tracker -----------------------------------------------------------------------------------


def test_a_run_is_known_from_its_beginning_to_its_end() -> None:
    tracker = RunTracker()
    tracker.handle(events(START), 0)
    tracker.handle(state(worker="w", started=T + 5), 0)
    assert tracker.running("r-1") == TrackedRun(
        run_id="r-1", order_id="o-1", workflow="referral", worker="w", started=T + 5, step="Fetch"
    )
    tracker.handle(events(DONE), 1)
    found = tracker.running("r-1")
    assert found is not None and found.step == ""
    tracker.handle(state(status="success"), 2)
    assert tracker.running("r-1") is None
    assert tracker.runs_ended(2)[-2:] == (0, 1)
    assert sum(tracker.runs_ended(2 + WINDOW_S)) == 0


def test_a_run_that_was_asked_for_is_known() -> None:
    tracker = RunTracker()
    view = {**msgspec.to_builtins(state()), "steps": [{"job_id": "a", "reason": "success"}]}
    tracker.add({**view, "steps": [*view["steps"], {"job_id": "b"}], "plan": {}})
    found = tracker.running("r-1")
    assert found is not None and found.step == "b" and found.started == T
    tracker.handle(Gap(), 0)
    assert tracker.running("r-1") is None


def test_the_ledger_never_grows_without_end() -> None:
    tracker = RunTracker()
    for number in range(MAX_RUNS + 10):
        tracker.handle(state(f"r-{number}"), number)
        tracker.handle(state(f"x-{number}", "failed"), number)
    assert tracker.running("r-9") is None and tracker.running("r-10") is not None
    assert sum(tracker.runs_ended(MAX_RUNS + 9)) == WINDOW_S


def test_what_fits_no_shape_is_not_heard() -> None:
    odd = RunEvents(run_id="r", attempt=1, events=[msgspec.Raw(b"[]"), msgspec.Raw(b"{}")])
    assert list(decode_events(odd)) == []
    (fact,) = events_from_reply(
        [{**START, "run_id": "r", "seq": 1, "timestamp": T, "output_dataclip": {}}]
    )
    assert isinstance(fact, StepStart) and fact.job_name == "Fetch"


# --- notifications -----------------------------------------------------------------------------------------


async def test_news_are_what_happens_from_now_on() -> None:
    broker = LocalBroker()
    control = broker.bus()
    async with control, Client(broker.bus()) as client:

        def publish(topic: str, payload: bytes, *, retain: bool = False) -> None:
            control.publish(Message(topic=topic, payload=payload, retain=retain))

        publish(TOPICS.run("old", "state"), wire.encode(state("old")), retain=True)
        await asyncio.sleep(0.01)  # it is connected
        notifications = client.notifications()
        assert await anext(notifications) == [Gap()]
        publish(TOPICS.run("r-1", "state"), wire.encode(state()), retain=True)
        publish(TOPICS.run("r-1", "events"), wire.encode(events(START)))
        publish(TOPICS.run("r-1", "events"), b"none of ours")
        publish(TOPICS.alerts, wire.encode(alert()))
        publish("another/v1/alerts", wire.encode(alert()))
        found: list[Any] = []
        while len(found) < 3:
            found += await anext(notifications)
        assert [type(one).__name__ for one in found] == ["RunState", "RunEvents", "Alert"]
        assert found[0] == state()


@pytest.mark.slow
async def test_news_that_nobody_takes_are_a_gap() -> None:
    broker = LocalBroker()
    control = broker.bus()
    async with control, Client(broker.bus()) as client:
        await asyncio.sleep(0.01)
        notifications = client.notifications()
        await anext(notifications)
        payload = wire.encode(state())
        for _ in range(MAX_QUEUED_NOTIFICATIONS + 3):
            control.publish(Message(topic=TOPICS.run("r-1", "state"), payload=payload))
        for _ in range(100):  # until the client has heard it all
            await asyncio.sleep(0)
        assert await anext(notifications) == [Gap(), state(), state()]


def alert() -> Alert:
    return Alert(
        run_id="r-1",
        order_id="o-1",
        project="p",
        workflow="referral",
        status="lost",
        at=T,
        error_type="LostAfterStart",
        error_message=HOSTILE,
    )


# --- lines and the screen -------------------------------------------------------------------------


def test_a_change_is_a_line() -> None:
    done = state(status="failed", worker="w", started=T, finished=T + 1_500_000)
    assert format_line(done) == "22:13:21.500 ✗ failed    referral run r-1 on w in 1.5 s"
    hostile = state(status="failed", workflow=HOSTILE, error_type="JobError", error_message=HOSTILE)
    assert not set(format_line(hostile)) & set("\x1b\u202e\r\n")
    assert format_line(events(START)) == format_line(alert()) == format_line(Gap()) == ""
    rejected = OrderState(
        order_id="o",
        project="p",
        workflow="w",
        status="rejected",
        priority=0,
        created=T,
        runs=0,
        reason="too many",
    )
    assert format_line(rejected) == "22:13:20.000 – rejected  w order o  too many"
    assert [json.loads(format_json(one))["type"] for one in (done, rejected, alert())] == [
        *("run", "order", "alert")
    ]
    assert format_json(Gap()) == ""


def test_a_sparkline() -> None:
    assert sparkline([0, 1, 2, 4, 8]) == " ▁▂▄█"
    assert sparkline([0, 0]) == "  "
    assert sparkline([1000, 1]) == "█▁"


def drawn(seen: Snapshot, trouble: str = "") -> str:
    console = Console(width=100, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(render_screen(seen, [0] * 59 + [3], "mqtt://here", trouble, T + 9_000_000))
    return captured.get()


def test_the_screen_shows_everything_and_does_nothing() -> None:
    active = TrackedRun(
        run_id="r", order_id="o", workflow=HOSTILE, worker="north-1", started=T, step=HOSTILE
    )
    here = {"name": "north-1", "online": True, "draining": False, "capacity": 4, "leases": [1]}
    gone = {"name": "east", "online": False, "draining": True, "capacity": 0, "leases": []}
    seen = Snapshot(
        statuses={"failed": 1234, "running": 1},
        waiting=7,
        leased=1,
        workers=[gone, here],
        alerts=[msgspec.to_builtins(alert())],
        running=[active],
    )
    shown = drawn(seen, "no answer\x1b[2J")
    for wanted in (
        *("✗ 1,234 failed", "3 in the last minute", "9 s", "7 wait for a worker", "1 of 4"),
        *("LostAfterStart", "no answer\\x1b[2J", "[bold]x[/bold]", "north-1", "offline"),
    ):
        assert wanted in shown
    assert not set(shown) & set("\x1b\u202e\r")
    assert shown.index("north-1") < shown.index("east")


def test_the_screen_of_an_empty_fleet() -> None:
    seen = Snapshot(statuses={}, waiting=0, leased=0, workers=[], alerts=[], running=[])
    for wanted in ("none yet", "no active runs", "no worker has connected yet"):
        assert wanted in drawn(seen)


# --- the command ----------------------------------------------------------------------------------


needs_broker = pytest.mark.broker


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[str, DashboardFleet]]:
    """A control plane and a worker, over a real broker."""
    with Broker() as broker, dashboard_fleet(broker.url) as on:
        on.call(on.add_worker("north-1", LoggingExecutor(count=3, rate=100)))
        yield broker.url, on


PLAN = {"workflow": {"name": "watched", "steps": [{"id": "a", "expression": "fn(s => s)"}]}}


@pytest.mark.slow
@needs_broker
@pytest.mark.parametrize("as_json", [False, True], ids=["lines", "json"])
def test_changes_are_lines_until_ctrl_c(fleet: tuple[str, DashboardFleet], as_json: bool) -> None:
    url, on = fleet
    line = [WORKER, "watch", "--mqtt", url, *(["--json"] if as_json else [])]
    watching = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert watching.stdout is not None
    # Changes from before its subscription are not printed: cause some until the first is.
    while not select.select([watching.stdout], [], [], 0.2)[0]:
        on.call(on.client.cancel(on.call(on.client.submit(plan=PLAN))["last_run"]))
    run_id = on.call(on.client.submit(plan=PLAN))["last_run"]
    lines = (line for line in watching.stdout if run_id in line)
    # A state can be published again; what counts is that the run is seen to start.
    first = [next(lines), next(line for line in lines if "running" in line)]
    on.call(on.client.cancel(run_id))
    last = next(line for line in lines if "cancelled" in line)
    watching.send_signal(signal.SIGHUP if as_json else signal.SIGINT)
    out, err = watching.communicate(timeout=60)
    assert (watching.returncode, err) == (0, "")
    # What follows are late states of the orders before: whole lines, as all others.
    assert all("watched" in line for line in out.splitlines())
    if as_json:
        assert all(json.loads(line)["workflow"] == "watched" for line in out.splitlines())
        expected = [json.loads(one) for one in (*first, last)]
        assert [one["status"] for one in expected] == ["pending", "running", "cancelled"]
        assert {one["run_id"] for one in expected} == {run_id}
    else:
        assert "▸ running   watched" in first[1] and "on north-1" in first[1]
        assert "⊘ cancelled" in last and run_id in last


@pytest.mark.slow
@needs_broker
def test_on_a_terminal_it_is_a_screen(fleet: tuple[str, DashboardFleet]) -> None:
    url, on = fleet
    run_id = on.call(on.client.submit(plan=PLAN))["last_run"]
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    line = [WORKER, "watch", "--mqtt", url]
    watching = subprocess.Popen(line, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    shown = read(leader, "watched")
    for wanted in ("worker watch", "running", "north-1", "newest alerts"):
        assert wanted in shown
    on.call(on.client.cancel(run_id))
    assert "no active runs" in read(leader, "no active runs")
    watching.send_signal(signal.SIGINT)
    read(leader, "\x1b[?1049l")  # the screen before it is back
    assert watching.wait(60) == 0
    os.close(leader)


def read(leader: int, wanted: str) -> str:
    """Read what is shown until ``wanted`` is, for a minute at most."""
    shown = b""
    deadline = time.monotonic() + 60
    while wanted not in shown.decode(errors="replace") and time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                shown += os.read(leader, 65536)
            except OSError:
                break
    return shown.decode(errors="replace")


@pytest.mark.slow
@needs_broker
@pytest.mark.parametrize("command", ["watch", "dashboard"])
def test_without_a_control_plane_it_says_so(command: str) -> None:
    with Broker() as broker:
        line = [WORKER, command, "--mqtt", broker.url, "--reply-timeout", "1"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 69
    assert done.stderr.startswith("error: no control plane answered within 1 s")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@needs_broker
def test_the_dashboard_as_a_command(fleet: tuple[str, DashboardFleet]) -> None:
    import httpx

    line = [WORKER, "dashboard", "--mqtt", fleet[0], "--port", "0"]
    serving = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    url = serving.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:") and "/?token=" in url
    with httpx.Client(follow_redirects=True) as visitor:
        assert "Overview" in visitor.get(url).text
        port = url.partition("127.0.0.1:")[2].partition("/")[0]
        again = subprocess.run([*line[:-1], port], capture_output=True, text=True, timeout=120)
        assert again.returncode == 71 and "worker dev shows its own dashboard" in again.stderr
        serving.send_signal(signal.SIGHUP)
        out, err = serving.communicate(timeout=60)
    assert (serving.returncode, out) == (0, "")
    assert err.startswith("to sign in again after signing out: token ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["watch", "--mqtt", "http://x"], "is not a broker URL"),
        (
            ["watch", "--mqtt", "mqtt://x", "--topic-prefix", "a/b"],
            "--topic-prefix: expected 1 to 64 letters",
        ),
        (["dashboard", "--mqtt", "mqtt://x", "--ca", "f"], "certificates need TLS"),
    ],
)
def test_wrong_usage_is_told_in_a_line(
    given: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from worker.cli.main import main

    monkeypatch.setattr(sys, "argv", ["worker", *given])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert expected in capsys.readouterr().err


def test_without_a_broker_the_address_and_the_remedy_are_named() -> None:
    broker = f"mqtt://127.0.0.1:{free_port()}"
    line = [WORKER, "orders", "--mqtt", broker, "--reply-timeout", "1000"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert done.returncode == 69
    assert done.stderr == (
        f"error: cannot connect to {broker}: Connection refused "
        "(--mqtt names another broker, worker dev starts a fleet)\n"
    )
