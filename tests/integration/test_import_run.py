"""Imports of runs of Lightning and of the OpenFn command, as recordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import call_worker
from tests.support.real_adaptors import COMMON, HTTP, needs_npm, real_adaptors  # noqa: F401
from worker.replay.recording import read_recording

pytestmark = [needs_npm, pytest.mark.xdist_group("recordings")]

LIGHTNING = {
    "id": "6b0f0c1e-0000-4000-8000-000000000001",
    "starting_node_id": "t",
    "dataclip_id": "d0",
    "triggers": [{"id": "t", "type": "webhook"}],
    "jobs": [
        {"id": "fetch", "adaptor": HTTP, "body": "get('https://x.test/');"},
        {"id": "send", "adaptor": COMMON, "body": "fn(s => ({ ...s, sent: s.data.n + 1 }));"},
    ],
    "edges": [
        {"id": "e1", "source_trigger_id": "t", "target_job_id": "fetch", "condition_type": "always"},
        {"id": "e2", "source_job_id": "fetch", "target_job_id": "send", "condition_type": "on_job_success"},
    ],
    "steps": [
        {"id": "s1", "job_id": "fetch", "exit_reason": "success", "input_dataclip_id": "d0", "output_dataclip_id": "d1", "started_at": "2026-03-01T08:00:00.000000Z", "finished_at": "2026-03-01T08:00:01Z"},
        {"id": "s2", "job_id": "send", "exit_reason": "success", "input_dataclip_id": "d1", "output_dataclip_id": "d2", "started_at": "2026-03-01T08:00:02Z", "finished_at": "2026-03-01T08:00:03Z"},
    ],
    "dataclips": [{"id": "d0", "body": {"data": {}}}, {"id": "d1", "body": {"data": {"n": 4}}}, {"id": "d2", "body": {"data": {"n": 4}, "sent": 5}}],
    "logs": [{"step_id": "s1", "source": "JOB", "level": "info", "message": "hello"}],
}  # fmt: skip


@pytest.mark.slow
def test_a_lightning_run_is_imported_and_replayed(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(LIGHTNING))
    assert call_worker("import", file, "-o", tmp_path / "run").returncode == 0
    done = call_worker("replay", tmp_path / "run")
    assert done.returncode == 0 and "from the recording: fetch" in done.stdout, done.stdout
    assert "path: fetch → send" in done.stdout
    workflow = tmp_path / "new.json"
    text = json.dumps(read_recording(tmp_path / "run").plan)
    workflow.write_text(text.replace("s.data.n + 1", "s.data.n + 2"))
    done = call_worker("replay", tmp_path / "run", "--workflow-file", workflow)
    assert done.returncode == 1 and "output.sent: expected 5, found 6" in done.stdout
    case = tmp_path / "run.cases.yaml"
    assert call_worker("replay", tmp_path / "run", "--write-cases", case).returncode == 0
    assert call_worker("test", case).returncode == 0


@pytest.mark.slow
def test_the_cli_cache_is_imported_and_replayed(tmp_path: Path) -> None:
    workflow = tmp_path / "workflow.json"
    steps = [
        {"id": "a", "adaptor": HTTP, "expression": "get('https://x.test/');", "next": {"b": True}},
        {"id": "b", "adaptor": COMMON, "expression": "fn(s => ({ ...s, m: s.n * 2 }));"},
    ]
    workflow.write_text(json.dumps({"workflow": {"name": "w", "steps": steps}}))
    cache = tmp_path / ".cli-cache" / "w"
    cache.mkdir(parents=True)
    (cache / "a.json").write_text(json.dumps({"n": 4, "data": {}}))
    (cache / "b.json").write_text(json.dumps({"n": 4, "data": {}, "m": 8}))
    done = call_worker("import", cache, "--workflow-file", workflow, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    done = call_worker("replay", tmp_path / "run")
    assert done.returncode == 0 and "path: a → b" in done.stdout, done.stdout


@pytest.mark.parametrize("content", ["{}", "[]", '{"jobs": [], "steps": 3}', "no json"])
def test_what_is_no_run_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    done = call_worker("import", tmp_path / "run.json", "-o", tmp_path / "out")
    assert done.returncode == 2 and "Traceback" not in done.stderr
