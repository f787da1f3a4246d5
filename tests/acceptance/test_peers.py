"""Comparison with test kits of other workflow engines: a test for each row, by the command that a
user would type.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.support.command import Done, call_worker
from worker.core.status import ERROR_TYPES, Status

SPIN = "fn(state => { while (true) {} });"
HOG = "fn(state => { const a = []; while (true) a.push(new Uint8Array(1e6).fill(1)); });"

WORKFLOW = f"""
steps:
- id: fetch
  adaptor: '@openfn/language-common@3.3.4'
  expression: 'fn(state => ({{ data: {{ real: true }} }}));'
  next: {{send: {{condition: "state.data.urgent"}}, file: {{condition: "!state.data.urgent && !state.errors"}}, alert: on_job_failure}}
- {{id: send, adaptor: '@openfn/language-common@3.3.4', expression: fn(state => state);}}
- {{id: file, adaptor: '@openfn/language-common@3.3.4', expression: fn(state => state);}}
- {{id: alert, adaptor: '@openfn/language-common@3.3.4', expression: fn(state => state);, next: {{spin: "state.spin", hog: "state.hog"}}}}
- {{id: spin, adaptor: '@openfn/language-common@3.3.4', expression: '{SPIN}'}}
- {{id: hog, adaptor: '@openfn/language-common@3.3.4', expression: '{HOG}'}}
"""


def worker(folder: Path, *arguments: str) -> Done:
    return call_worker(*arguments, cwd=folder)


def cases(folder: Path, *listed: dict[str, Any]) -> Done:
    """Write a file of cases beside the workflow, and run it."""
    (folder / "w.yaml").write_text(WORKFLOW)
    named = [{"name": f"case {number}", **case} for number, case in enumerate(listed)]
    text = yaml.safe_dump({"workflow": "w.yaml", "cases": named}, sort_keys=False)
    (folder / "w.cases.yaml").write_text(text)
    done = worker(folder, "test", "--junit", "junit.xml", "--coverage", "rules.json")
    assert "Traceback" not in done.stderr
    return done


def passes(folder: Path, *listed: dict[str, Any]) -> None:
    done = cases(folder, *listed)
    assert done.returncode == 0 and f"{len(listed)} passed" in done.stdout, done.stdout


@pytest.mark.slow
def test_mock_the_output_of_a_step(tmp_path: Path) -> None:
    act = {"returns": {"data": {"urgent": True, "n": 7}}}
    passes(tmp_path, {"steps": {"fetch": act}, "expect": {"path": ["fetch", "send"], "state": {"data": {"n": 7}}}})  # fmt: skip


def test_mock_an_error_of_a_step_by_type_all_of_them(tmp_path: Path) -> None:
    assert len(ERROR_TYPES) >= 14
    listed = [
        {
            "steps": {"fetch": {"fails": type, "message": "so it is"}},
            "expect": {"path": ["fetch", "alert"], "status": "success"}
            if status is Status.FAILED
            else {"path": ["fetch"], "status": str(status), "error_type": type},
        }
        for type, status in ERROR_TYPES.items()
    ]
    passes(tmp_path, *listed)


@pytest.mark.slow
def test_a_different_outcome_for_each_attempt_and_execution(tmp_path: Path) -> None:
    fails_twice = {"0-1": {"fails": "JobError"}, "2": {"returns": {"data": {}}}}
    again = {"0": {"fails": "TypeError"}, "*": {}}
    passes(
        tmp_path,
        {
            "retry": {"times": 2, "after": 3600},
            "steps": {"fetch": fails_twice, "alert": {"fails": "JobError"}},
            "expect": {"status": "success", "runs": [{"status": "failed"}] * 2 + [{"path": ["fetch", "file"]}]},
        },
        {"steps": {"fetch": again}, "expect": {"path": ["fetch", "alert"]}},
    )  # fmt: skip


@pytest.mark.slow
def test_cases_are_data_and_a_stale_one_is_an_error(tmp_path: Path) -> None:
    passes(tmp_path, {"expect": {"state": {"data": {"real": True}}}})
    done = cases(tmp_path, {"steps": {"fetsh": {"returns": {}}}, "expect": {}})
    assert (
        done.returncode == 2 and "stale" in done.stderr and "did you mean 'fetch'?" in done.stderr
    )
    assert "w.cases.yaml:" in done.stderr


@pytest.mark.slow
def test_the_clock_is_virtual(tmp_path: Path) -> None:
    passes(
        tmp_path,
        {"timeout": 600, "steps": {"fetch": {"takes": 601}}, "expect": {"error_type": "TimeoutError"}},
        {"timeout": 600, "steps": {"fetch": {"takes": 599}}, "expect": {"status": "success"}},
    )  # fmt: skip
    times = [float(str(one.get("time"))) for one in ElementTree.parse(tmp_path / "junit.xml").iter("testcase")]  # fmt: skip
    assert len(times) == 2 and max(times) < 599


@pytest.mark.slow
def test_edges_and_both_outcomes_of_each_condition_are_measured(tmp_path: Path) -> None:
    passes(tmp_path, {"steps": {"fetch": {"fails": "JobError"}}, "expect": {}})
    (one,) = json.loads((tmp_path / "rules.json").read_text())["workflows"]
    seen = {rule for rule, count in one["rules"].items() if count}
    assert "edge fetch->alert taken" in seen and "edge fetch->send not taken" in seen
    assert {"edge fetch->send taken", "edge fetch->file taken"} <= one["rules"].keys() - seen
    # A second session adds to it.
    passes(tmp_path, {"steps": {"fetch": {"returns": {"data": {"urgent": 1}}}}, "expect": {}})
    (one,) = json.loads((tmp_path / "rules.json").read_text())["workflows"]
    assert one["rules"]["edge fetch->send taken"] == one["rules"]["edge fetch->send not taken"] == 1


def test_outcomes_are_explored_exhaustively(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(WORKFLOW)
    done = worker(tmp_path, "explore", "w.yaml", "--ask", "no failure of fetch goes unhandled", "--ask", "send always runs after fetch")  # fmt: skip
    assert done.returncode == 1
    assert "✓ no failure of fetch" in done.stdout and "✗ send always runs" in done.stdout


def test_conditions_and_unhandled_failures_are_linted(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(
        WORKFLOW.replace('"state.data.urgent"', '"state.error && state.a.b.c"')
    )
    done = worker(tmp_path, "lint", "w.yaml")
    assert done.returncode == 1 and "state.error" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "status", "type"),
    [
        ({"fails": "SecurityError"}, "killed", "SecurityError"),
        ({"fails": "OomError"}, "killed", "OomError"),
        ({"hangs": True}, "killed", "TimeoutError"),
        ({"fails": "LostAfterStart"}, "lost", "LostAfterStart"),
        ({"fails": "CredentialError"}, "exception", "CredentialError"),
    ],
)
def test_faults_are_injected(tmp_path: Path, act: Any, status: str, type: str) -> None:
    expect = {"status": status, "error_type": type, "path": ["fetch"], "never": ["alert"]}
    passes(tmp_path, {"steps": {"fetch": act}, "expect": expect})


@pytest.mark.slow
def test_ci_gets_an_exit_code_and_junit(tmp_path: Path) -> None:
    done = cases(tmp_path, {"expect": {"taken": ["fetch->send"]}}, {"expect": {}})
    assert done.returncode == 1 and "its condition is false: state.data.urgent" in done.stdout
    tree = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert (tree.get("tests"), tree.get("failures")) == ("2", "1")


@pytest.mark.slow
def test_limits_of_memory_and_time_are_real(tmp_path: Path) -> None:
    mocked = (
        {"fails": "JobError", "leaves": {"data": {}, "spin": 1}},
        {"fails": "JobError", "leaves": {"data": {}, "hog": 1}},
    )
    spins, hogs = ({"steps": {"fetch": act}} for act in mocked)
    passes(
        tmp_path,
        {**spins, "timeout": 0.5, "expect": {"error_type": "TimeoutError", "path": ["fetch", "alert", "spin"]}},
        {**hogs, "memory": 64, "expect": {"error_type": "OomError", "path": ["fetch", "alert", "hog"]}},
    )  # fmt: skip
