"""Recordings of runs of a fleet: with requests by a worker, and afterwards without them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.command import call_worker
from tests.support.helpers import workflow
from tests.support.services import Asked, serving
from worker.adaptors.collections.settings import VARIABLE, parse_collections
from worker.cli.record_run import write_recording
from worker.errors import UsageError
from worker.fleet import local_fleet as fleets
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.replay.record_runs import record_in
from worker.sinks.log import stderr_logger
from worker.workflow.save import to_execution_plan

COMMON = "@openfn/language-common@3.3.4"
ASK = {"id": "ask", "adaptor": COMMON, "expression": "collections.get('people', 'a')"}
COUNT = {
    "id": "count",
    "adaptor": COMMON,
    "expression": "fn(s => { console.log('counted'); return {...s, n: 1, r: Math.random()} })",
}


def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    item = {"key": "a", "value": '{"age": 5}'}
    return 200, {"content-type": "application/json"}, json.dumps(item).encode()


async def run_to_end(client: worker.Client, *steps: dict[str, Any]) -> dict[str, Any]:
    state = {"data": {"x": 1}, "configuration": {"user": "ann"}}
    order = await client.submit(plan=to_execution_plan(workflow(*steps)), input=state)
    return await client.wait(order["last_run"])


async def recorded_after(folder: Path, *steps: dict[str, Any], collections: str = "") -> Path:
    """Run steps in a fleet, and record the run when it has ended."""
    place = parse_collections(collections or None)
    async with worker.local_fleet(allowance=Allowance(collections=place)) as client:
        run = await run_to_end(client, *steps)
        assert run["status"] == "success"
        file = await write_recording(client, run["run_id"], folder)
        with pytest.raises(UsageError, match="exists"):
            await write_recording(client, run["run_id"], folder)
    assert file.name == f"{run['run_id']}.jsonl"
    return file


# Commands start event loops of their own, so these tests are no coroutines.


def test_a_run_is_recorded_when_it_has_ended(tmp_path: Path) -> None:
    file = asyncio.run(recorded_after(tmp_path, COUNT))
    shown = call_worker("recording", file)
    assert "made by: fleet" in shown.stdout and "counted" in shown.stdout
    assert "ann" not in file.read_text()
    assert "success, as recorded" in call_worker("replay", file).stdout
    written = call_worker("replay", file, "--write-cases", "seen.cases.yaml", cwd=tmp_path)
    assert written.stdout == "wrote 1 case to seen.cases.yaml\n"
    tested = call_worker("test", "seen.cases.yaml", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert call_worker("report", file, "-o", tmp_path / "r.html").returncode == 0


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
    assert "the requests of this run were not kept (worker start --record" in replayed.stdout


def test_a_worker_records_the_requests_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "s3cret-t0ken")
    start = record_in(tmp_path / "runs", stderr_logger(fleets.QUIET))
    monkeypatch.setattr(
        fleets, "RunExecutor", lambda pool, allowance: RunExecutor(pool, allowance, start)
    )
    steps = {**ASK, "next": "count"}, COUNT
    with serving(answer) as service:
        place = service.url("/collections")
        after = asyncio.run(recorded_after(tmp_path, *steps, collections=place))
    file = tmp_path / "runs" / after.name
    assert "/collections/people/a" in file.read_text()
    replayed = call_worker("replay", file)
    assert replayed.returncode == 0, replayed.stdout


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
