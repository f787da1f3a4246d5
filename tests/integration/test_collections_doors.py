"""Collections by the command, in recordings, in a fleet, in pytest, and of a real service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import worker
from tests.support.command import call_worker
from tests.support.helpers import job, workflow
from tests.support.services import Asked, serving
from worker.adaptors.collections.settings import VARIABLE, Collections, parse_collections
from worker.fleet.worker.run_executor import Allowance
from worker.lint.checks import lint
from worker.testing.fixtures import WorkflowUnderTest
from worker.workflow.save import to_execution_plan

SOURCE = "collections.get('people', 'a');\ncollections.set('people', 'b', $.data);"
STEP = {"id": "a", "adaptor": "@openfn/language-common@3.3.4", "expression": SOURCE}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "collections").mkdir()
    (tmp_path / "collections" / "people.json").write_text('{"a": {"n": 1}}')
    (tmp_path / "w.json").write_text(json.dumps({"steps": [STEP]}))
    return tmp_path


def people(folder: Path) -> object:
    return json.loads((folder / "collections" / "people.json").read_text())


@pytest.mark.slow
def test_the_command_runs_records_and_replays(folder: Path) -> None:
    place = ["--collections", "collections"]
    run = call_worker("run", "w.json", *place, "--record", "r.jsonl", cwd=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    assert people(folder) == {"a": {"n": 1}, "b": {"n": 1}}
    (folder / "collections" / "people.json").unlink()
    replay = call_worker("replay", "r.jsonl", "--write-cases", "w.cases.yaml", cwd=folder)
    assert replay.returncode == 0, replay.stdout + replay.stderr
    tested = call_worker("test", "w.cases.yaml", cwd=folder)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.slow
def test_without_a_place_the_command_names_the_option(folder: Path) -> None:
    run = call_worker("run", "w.json", cwd=folder)
    assert run.returncode == 5
    assert "--collections" in run.stdout + run.stderr


@pytest.mark.slow
async def test_the_workers_of_a_fleet_share_a_folder(folder: Path) -> None:
    place = parse_collections(folder / "collections")
    async with worker.local_fleet(allowance=Allowance(collections=place)) as client:
        order = await client.submit(plan=to_execution_plan(workflow(STEP)), input={})
        run = await client.wait(order["last_run"])
        assert run["status"] == "success"
    assert people(folder) == {"a": {"n": 1}, "b": {"n": 1}}


@pytest.mark.slow
async def test_a_fleet_without_a_place_ends_the_run_as_exception() -> None:
    async with worker.local_fleet() as client:
        order = await client.submit(plan=to_execution_plan(workflow(STEP)), input={})
        run = await client.wait(order["last_run"])
        assert run["status"] == "exception"


def test_a_workflow_under_test_has_collections(folder: Path) -> None:
    under_test = WorkflowUnderTest(workflow=workflow(STEP)).with_collections(folder / "collections")
    assert under_test.run().status == "success"
    assert people(folder) == {"a": {"n": 1}, "b": {"n": 1}}


@pytest.mark.slow
def test_the_service_gets_the_token_which_is_masked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        item = {"key": "a", "value": '{"n": 5}'} if asked.path.endswith("/a") else {"upserted": 1}
        return 200, {"content-type": "application/json"}, json.dumps(item).encode()

    monkeypatch.setenv(VARIABLE, "s3cret-t0ken")
    show = job("fn(s => { console.log(s.configuration); return s; });", id="b")
    plan = {"steps": [{**STEP, "next": "b"}, show]}
    (folder / "w.json").write_text(json.dumps(plan))
    with serving(answer) as service:
        place = ["--collections", service.url("/collections")]
        run = call_worker("run", "w.json", *place, "--record", "r.jsonl", cwd=folder)
    assert run.returncode == 0, run.stdout + run.stderr
    assert [asked.path for asked in service.asked] == [
        "/collections/people/a",
        "/collections/people",
    ]
    assert service.asked[0].headers["authorization"] == "Bearer s3cret-t0ken"
    recording = (folder / "r.jsonl").read_text()
    assert "s3cret-t0ken" not in run.stdout + run.stderr + recording
    monkeypatch.delenv(VARIABLE)
    replay = call_worker("replay", "r.jsonl", cwd=folder)
    assert replay.returncode == 0, replay.stdout + replay.stderr


def test_lint_knows_the_name(folder: Path) -> None:
    assert [finding.message for finding in lint(folder / "w.json")] == []


def test_settings_are_parsed_once() -> None:
    settings = Collections(url="https://app.example.org/collections", token="t")
    assert parse_collections(settings) is settings
    assert parse_collections(None) is None
