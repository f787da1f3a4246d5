"""Recordings of runs of a fleet: with requests by a worker, and afterwards without them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import worker
from tests.support.command import call_worker
from tests.support.helpers import workflow
from tests.support.services import Asked, serving
from worker.adaptors.collections.settings import VARIABLE, parse_collections
from worker.adaptors.http.exchange import Exchange, HttpReply, HttpRequest
from worker.cli.record_run import write_recording
from worker.errors import UsageError
from worker.fleet import local_fleet as fleets
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.messaging.messages import RunOptions
from worker.fleet.messaging.recorded_lines import attach, detach
from worker.fleet.worker.reported_recording import ReportedRecording
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.replay.record_runs import record_in
from worker.replay.recording_file import parse_content
from worker.replay.recording_lines import exchange_line
from worker.runner.prepare import Options
from worker.sinks.log import stderr_logger
from worker.workflow.save import to_execution_plan

COMMON = "@openfn/language-common@3.3.4"
ASK = {"id": "ask", "adaptor": COMMON, "expression": "collections.get('people', 'a')"}
COUNT = {
    "id": "count",
    "adaptor": COMMON,
    "expression": "fn(s => { console.log('counted'); return {...s, n: 1, r: Math.random()} })",
}


def record_all(monkeypatch: pytest.MonkeyPatch, folder: Path, *, on_failure: bool = False) -> None:
    """Let the workers of local fleets record their runs, as `worker start --record` does."""
    start = record_in(folder, stderr_logger(fleets.QUIET), on_failure=on_failure)
    monkeypatch.setattr(
        fleets, "RunExecutor", lambda pool, allowance: RunExecutor(pool, allowance, start)
    )


def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    item = {"key": "a", "value": '{"age": 5}'}
    return 200, {"content-type": "application/json"}, json.dumps(item).encode()


async def run_to_end(
    client: worker.Client, *steps: dict[str, Any], record: bool = False
) -> dict[str, Any]:
    state = {"data": {"x": 1}, "configuration": {"user": "ann"}}
    options = RunOptions(record=record)
    plan = to_execution_plan(workflow(*steps))
    order = await client.submit(plan=plan, input=state, options=options)
    return await client.wait(order["last_run"])


async def recorded_after(
    folder: Path, *steps: dict[str, Any], collections: str = "", record: bool = False
) -> Path:
    """Run steps in a fleet, and record the run when it has ended; ``record`` keeps requests."""
    place = parse_collections(collections or None)
    async with worker.local_fleet(allowance=Allowance(collections=place)) as client:
        run = await run_to_end(client, *steps, record=record)
        assert run["status"] == "success"
        file, has_requests = await write_recording(client, run["run_id"], folder)
        assert has_requests is record
        with pytest.raises(UsageError, match="exists"):
            await write_recording(client, run["run_id"], folder)
    assert file.name == f"{run['run_id']}.jsonl"
    return file


# Commands start event loops of their own, so these tests are no coroutines.


@pytest.mark.slow
def test_a_run_is_recorded_when_it_has_ended(tmp_path: Path) -> None:
    file = asyncio.run(recorded_after(tmp_path, COUNT))
    shown = call_worker("recording", file)
    assert "made by: fleet" in shown.stdout and "counted" in shown.stdout
    assert "ann" not in file.read_text()
    assert "success, as recorded" in call_worker("replay", file).stdout
    written = call_worker("replay", file, "--write-cases", "seen.cases.yaml", cwd=tmp_path)
    files = "seen.cases.yaml, and their workflow to seen.workflow.json"
    assert written.stdout == f"wrote 1 case to {files}\n"
    tested = call_worker("test", "seen.cases.yaml", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert call_worker("report", file, "-o", tmp_path / "r.html").returncode == 0


@pytest.mark.slow
def test_a_replay_without_requests_stops_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "s3cret-t0ken")
    steps = {**ASK, "next": "count"}, COUNT
    with serving(answer) as service:
        place = service.url("/collections")
        file = asyncio.run(recorded_after(tmp_path, *steps, collections=place))
    replayed = call_worker("replay", file)
    assert replayed.returncode == 1
    assert "the requests of this run were not kept (worker submit --record" in replayed.stdout


@pytest.mark.slow
def test_a_worker_records_the_requests_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "s3cret-t0ken")
    record_all(monkeypatch, tmp_path / "runs")
    steps = {**ASK, "next": "count"}, COUNT
    with serving(answer) as service:
        place = service.url("/collections")
        after = asyncio.run(recorded_after(tmp_path, *steps, collections=place))
    file = tmp_path / "runs" / after.name
    assert "/collections/people/a" in file.read_text()
    replayed = call_worker("replay", file)
    assert replayed.returncode == 0, replayed.stdout


@pytest.mark.slow
async def test_a_worker_keeps_the_recordings_of_failures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_all(monkeypatch, tmp_path, on_failure=True)
    fails = {**COUNT, "expression": "fn(() => { throw new Error('no reply'); })"}
    async with worker.local_fleet() as client:
        assert (await run_to_end(client, COUNT))["status"] == "success"
        run = await run_to_end(client, fails)
    [file] = tmp_path.iterdir()
    assert file.name == f"{run['run_id']}.jsonl" and "no reply" in file.read_text()


@pytest.mark.slow
def test_an_order_keeps_the_requests_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "s3cret-t0ken")
    record_all(monkeypatch, tmp_path / "runs")
    again = {**ASK, "id": "again", "next": "count"}
    steps = {**ASK, "next": "again"}, again, COUNT
    with serving(answer) as service:
        place = service.url("/collections")
        file = asyncio.run(recorded_after(tmp_path, *steps, collections=place, record=True))
    text = file.read_text()
    assert text.count('"type":"exchange"') == 2 and "s3cret" not in text and '"ann"' not in text
    # The worker records the run as well: both have each request once.
    assert (tmp_path / "runs" / file.name).read_text().count('"type":"exchange"') == 2
    replayed = call_worker("replay", file)
    assert replayed.returncode == 0, replayed.stdout
    assert "success, as recorded" in replayed.stdout


async def test_a_project_that_stores_nothing_keeps_no_requests() -> None:
    policy = Policy(default=ProjectLimits(output_dataclips=False), allows_everything=True)
    async with worker.local_fleet(policy=policy) as client:
        with pytest.raises(worker.WorkerError, match="'default' stores no outputs, and thus no"):
            await run_to_end(client, COUNT, record=True)


def test_lines_travel_with_an_event_and_leave_it_as_it_was() -> None:
    event = b'{"type":"run:log","message":"\xc3\xa9"}'
    lines = b'{"type":"exchange","text":"a \\"b\\" \xc3\xa9"}\n'
    assert detach(attach(event, lines)) == (event, lines.decode())
    for text in (event, b'{"recorded":3}', b'{"recorded":"x', b'{"recorded":'):
        assert detach(text) == (text, "")


def test_what_has_no_room_is_counted(tmp_path: Path) -> None:
    recording = ReportedRecording("run-1", workflow(COUNT), Options(), {}, 1_000_000)
    exchange = Exchange(
        step="count", execution=0, sent_us=1, arrived_us=2,
        request=HttpRequest(method="GET", url="https://x.example"), reply=HttpReply(status=200),
    )  # fmt: skip
    for _ in range(3):
        recording.exchange(exchange)
    header = recording.take(10_000, last=False).split(b"\n")[0] + b"\n"
    for _ in range(3):
        recording.exchange(exchange)
    rest = recording.take(len(exchange_line(exchange)) + 10, last=True)
    assert recording.take(10_000, last=True) == b'{"type":"dropped","requests":2}\n'
    content = parse_content(header + rest, "x.jsonl")
    assert len(content.exchanges) == 1
    assert content.damage[0] == "2 requests had no room in it"


def test_a_request_that_no_message_has_room_for_keeps_no_others_back() -> None:
    recording = ReportedRecording("run-1", workflow(COUNT), Options(), {}, 20_000)
    exchange = Exchange(
        step="count", execution=0, sent_us=1, arrived_us=2,
        request=HttpRequest(method="GET", url="https://x.example"), reply=HttpReply(status=200),
    )  # fmt: skip
    large = replace(exchange, reply=HttpReply(status=200, body=b"x" * 6_000))
    for each in (exchange, large, exchange):
        recording.exchange(each)
    lines = recording.take(10_000, last=True)
    content = parse_content(lines, "x.jsonl")
    assert [each.reply.body for each in content.exchanges] == [exchange.reply.body] * 2
    assert content.damage[0] == "1 requests had no room in it"


@pytest.mark.slow
async def test_a_run_under_way_is_not_recorded(tmp_path: Path) -> None:
    wait = {**COUNT, "expression": "fn(() => new Promise(() => {}))"}
    async with worker.local_fleet() as client:
        plan = to_execution_plan(workflow(wait))
        order = await client.submit(plan=plan, input={})
        with pytest.raises(UsageError, match="it can be recorded when it has ended"):
            await write_recording(client, order["last_run"], tmp_path)
        await client.cancel(order["last_run"])


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot record in"):
        record_in(tmp_path / "file" / "runs", stderr_logger(fleets.QUIET))
