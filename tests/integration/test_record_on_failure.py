"""``--record on-failure`` of ``worker run`` and ``worker test``: what is kept, and what opens it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import call_worker
from worker.replay.recording import read_recording


def write(folder: Path, job: str) -> Path:
    step = {"id": "a", "adaptor": "common", "expression": f"fn(state => {{ {job} }});"}
    file = folder / "w.json"
    file.write_text(json.dumps({"workflow": {"name": "w", "steps": [step]}}), "utf-8")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("value", ["on-failure", "on-failure:kept/here"])
def test_a_run_that_fails_leaves_a_recording(tmp_path: Path, value: str) -> None:
    file = write(tmp_path, "throw new Error('no such patient');")
    done = call_worker("run", file, "--record", value, "--quiet", cwd=tmp_path)
    assert done.returncode == 1
    (recording,) = (tmp_path / (value.partition(":")[2] or "recordings")).iterdir()
    assert f"recorded {recording.relative_to(tmp_path)}" in done.stderr
    report = call_worker("report", recording, "-o", tmp_path / "r.html")
    assert report.returncode == 0
    assert "no such patient" in (tmp_path / "r.html").read_text("utf-8")
    assert call_worker("replay", recording).returncode == 0


@pytest.mark.slow
def test_a_run_that_succeeds_leaves_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, "return state;")
    done = call_worker("run", file, "--record", "on-failure", "--quiet", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    assert [each.name for each in tmp_path.iterdir()] == ["w.json"]


@pytest.mark.slow
def test_a_case_that_fails_leaves_a_recording(tmp_path: Path) -> None:
    write(tmp_path, "return { ...state, n: state.n + 1 };")
    cases = [
        {"name": "It works", "input": {"n": 1}, "expect": {"state": {"n": 2}}},
        {
            "name": "It fails: twice",
            "input": {"n": 3},
            "steps": {"a": {"0": {"fails": "JobError", "leaves": {"n": 8}}}},
            "retry": {"times": 1},
            "expect": {"state": {"n": 9}},
        },
    ]
    content = {"workflow": "w.json", "cases": cases}
    (tmp_path / "w.cases.json").write_text(json.dumps(content), "utf-8")
    for _ in range(2):
        # The second time it takes the place of the first.
        done = call_worker("test", ".", "--record", "on-failure", cwd=tmp_path)
        assert done.returncode == 1
        (file,) = (tmp_path / "recordings").iterdir()
    assert file.name.startswith("it-fails-twice-")
    assert f"recorded recordings/{file.name}" in done.stdout
    recording = read_recording(file)
    # The retry, as the expectations are about it.
    assert recording.complete and recording.input == {"n": 3}
    assert recording.events[-1].final_state.value == {"data": {}, "n": 4}  # type: ignore[union-attr]
    assert call_worker("replay", file).returncode == 0
    assert call_worker("report", file, "-o", tmp_path / "r.html").returncode == 0


@pytest.mark.slow
def test_passing_cases_leave_nothing_and_another_value_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "return state;")
    case = {"name": "c", "expect": {"status": "success"}}
    content = {"workflow": "w.json", "cases": [case]}
    (tmp_path / "w.cases.json").write_text(json.dumps(content), "utf-8")
    assert call_worker("test", ".", "--record", "on-failure", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "recordings").exists()
    done = call_worker("test", ".", "--record", "file.jsonl", cwd=tmp_path)
    assert done.returncode == 2 and "on-failure[:DIR]" in done.stderr
