"""Scenarios: what a case can script, what it can expect, and how it reports mistakes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.support.command import ROOT, Done, call_worker
from worker.core.status import ERROR_TYPES
from worker.errors import LoadError
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case

WORKFLOW = """
steps:
- id: a
  adaptor: common@1
  expression: "fn(s => { console.log('real a'); return { ...s, real: true }; });"
  next: {ok: on_job_success, bad: on_job_failure, maybe: {condition: state.data.maybe}, off: {condition: always, disabled: true}}
- {id: ok, adaptor: common@1, expression: fn(s => s);}
- {id: bad, adaptor: common@1, expression: fn(s => s);}
- {id: maybe, adaptor: common@1, expression: fn(s => s);, next: ok}
- {id: off, adaptor: common@1, expression: fn(s => s);}
"""


def suite(folder: Path, *cases: dict[str, Any], **fields: Any) -> Path:
    (folder / "w.yaml").write_text(WORKFLOW)
    named = [{"name": f"case {number}", **case} for number, case in enumerate(cases)]
    file = folder / "w.cases.yaml"
    file.write_text(
        yaml.safe_dump({"workflow": "w.yaml", "cases": named, **fields}, sort_keys=False)
    )
    return file


def check(folder: Path, **case: Any) -> list[str]:
    """Return what is not as expected when one case runs."""
    (one,) = load_cases(suite(folder, case))
    return list(run_case(one).mismatches)


@pytest.mark.parametrize(
    ("act", "expect"),
    [
        (None, {"status": "success", "path": ["a", "ok"], "logs": ["real a"], "state": {"real": True}}),
        ({"returns": {"data": {"x": 1}}}, {"path": ["a", "ok"], "state_exact": {"data": {"x": 1}}}),
        ({"returns": {"data": {"maybe": 1}}}, {"path": ["a", "ok", "maybe", "ok"]}),
        ({"returns": {}}, {"status": "crashed", "error_type": "EdgeConditionError"}),
        ({"returns": None}, {"status": "crashed", "error_type": "EdgeConditionError"}),
        ({"fails": "JobError", "message": "404"}, {"path": ["a", "bad"], "state": {"errors": {"a": {"message": "404"}}}}),
        ({"fails": "RangeError"}, {"status": "success", "taken": ["a->bad"], "not_taken": ["a->ok", "a -> maybe"]}),
        ({"takes": 299}, {"status": "success"}),
        ({"takes": 301}, {"status": "killed", "error_type": "TimeoutError"}),
        ({"hangs": True}, {"status": "killed", "error_type": "TimeoutError", "path": ["a"]}),
        ({"0": {"fails": "TypeError"}, "*": {}}, {"path": ["a", "bad"]}),
    ],
)  # fmt: skip
async def test_what_a_case_can_script(tmp_path: Path, act: Any, expect: dict[str, Any]) -> None:
    assert check(tmp_path, steps={"a": act} if act else {}, expect=expect) == []


@pytest.mark.parametrize(("type", "status"), ERROR_TYPES.items())
async def test_a_step_can_fail_with_every_type_of_the_table(
    tmp_path: Path, type: str, status: str
) -> None:
    ending = "success" if status == "failed" else str(status)
    expect = {"status": ending, "path": ["a", "bad"] if status == "failed" else ["a"]}
    assert check(tmp_path, steps={"a": {"fails": type}}, expect=expect) == []


async def test_executions_can_differ(tmp_path: Path) -> None:
    steps = {
        "a": {"returns": {"data": {"maybe": 1}}},
        "ok": {"0": {"returns": {"n": 0}}, "1": {"fails": "JobError"}},
    }
    expect = {"status": "failed", "path": ["a", "ok", "maybe", "ok"], "state": {"ok": {"n": 0}}}
    assert check(tmp_path, steps=steps, expect=expect) == []


@pytest.mark.parametrize(("returned", "state"), [({}, {}), ([], []), (0, None), ("", None), (7, 7)])
async def test_what_a_step_returns_is_kept_unless_javascript_calls_it_false(
    tmp_path: Path, returned: Any, state: Any
) -> None:
    (one,) = load_cases(suite(tmp_path, {"steps": {"ok": {"returns": returned}}, "expect": {}}))
    result = run_case(one).results[-1]
    assert result.final_state == state


async def test_ten_minutes_of_virtual_time_take_none(tmp_path: Path) -> None:
    began = time.monotonic()
    expect = {"status": "killed", "error_type": "TimeoutError"}
    assert check(tmp_path, timeout=600, steps={"a": {"takes": 601}}, expect=expect) == []
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"expect": {"status": "failed"}}, "expected status failed, found success"),
        ({"expect": {"error_type": "JobError"}}, "expected error type JobError, found no error"),
        ({"expect": {"path": ["a", "bad"]}}, "expected path a → bad\n       found path a → ok"),
        ({"expect": {"through": ["ok", "a"]}}, "expected to pass through 'a', found path a → ok"),
        ({"expect": {"never": ["ok"]}}, "expected 'ok' never to run"),
        ({"expect": {"taken": ["a->bad"]}}, "expected edge a->bad to be taken; 'a' ended as success, and its condition is on_job_failure"),
        ({"expect": {"taken": ["a->maybe"]}}, "its condition is false: state.data.maybe"),
        ({"expect": {"taken": ["a->off"]}}, "expected edge a->off to be taken; it is disabled"),
        ({"expect": {"taken": ["maybe->ok"]}}, "'maybe' never ran"),
        ({"steps": {"a": {"fails": "OomError"}}, "expect": {"taken": ["a->bad"]}}, "'a' ended as killed (OomError), and the run with it"),
        ({"expect": {"not_taken": ["a->ok"]}}, "expected edge a->ok not to be taken; it was, after success"),
        ({"expect": {"state": {"real": False}}}, "final state.real: expected false, found true"),
        ({"expect": {"state": {"zz": 1}}}, "final state.zz: expected 1, found nothing"),
        ({"expect": {"state_exact": {"data": {}}}}, "final state.real: expected nothing, found true"),
        ({"expect": {"logs": ["nope"]}}, "expected 'nope' in a log line"),
    ],
)  # fmt: skip
async def test_a_wrong_expectation_says_what_and_why(
    tmp_path: Path, case: dict[str, Any], message: str
) -> None:
    found = check(tmp_path, **case)
    assert any(message in one for one in found), found


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"steps": {"aa": {"fails": "JobError"}}, "expect": {}}, "stale: the workflow has no step 'aa'; did you mean 'a'?"),
        ({"expect": {"taken": ["a->zz"]}}, "stale: the workflow has no edge 'a->zz'"),
        ({"expect": {"path": ["zz"]}}, "stale: the workflow has no step 'zz'"),
        ({"steps": {"a": {"fails": "Oops"}}, "expect": {}}, "unknown error type 'Oops'"),
        ({"steps": {"a": {"fails": "JobError", "returns": {}}}, "expect": {}}, "found both"),
        ({"steps": {"a": {"fials": "JobError"}}, "expect": {}}, "did you mean 'fails'?"),
        ({"expect": {"status": "fine"}}, "unknown status 'fine' (expected one of pending"),
        ({}, "expected an expectation"),
        ({"timeout": "long", "expect": {}}, "expected a number above 0 and up to 86,400, found 'long'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_case_is_found_before_anything_runs(
    tmp_path: Path, case: dict[str, Any], message: str
) -> None:
    with pytest.raises(LoadError) as caught:
        load_cases(suite(tmp_path, case))
    assert message in str(caught.value)


def command(*arguments: str) -> Done:
    return call_worker("test", *arguments, cwd=ROOT)


# Every day pytest collects these cases itself; here the command runs them, with their coverage.
@pytest.mark.slow
def test_the_cases_of_the_samples_pass() -> None:
    done = command("graphs", "--fail-under", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "147 passed, 0 failed" in done.stdout


@pytest.mark.slow
def test_a_failing_case_gives_exit_code_1_and_a_junit_failure(tmp_path: Path) -> None:
    file = suite(tmp_path, {"expect": {"status": "success"}}, {"expect": {"status": "killed"}})
    junit = tmp_path / "junit.xml"
    done = command(str(file), "--junit", str(junit))
    assert done.returncode == 1 and "1 passed, 1 failed" in done.stdout
    assert f"{file}:" in done.stdout
    tree = ElementTree.parse(junit).getroot()
    assert (tree.get("tests"), tree.get("failures")) == ("2", "1")
    failure = tree.find("testcase[@name='case 1']/failure")
    assert failure is not None and "expected status killed" in str(failure.get("message"))


@pytest.mark.slow
def test_cases_are_picked_by_name(tmp_path: Path) -> None:
    done = command("graphs/referral.cases.yaml", "-k", "nurse")
    assert "7 passed, 0 failed" in done.stdout


@pytest.mark.parametrize("arguments", [("nowhere",), ("graphs", "-k", "zz")])
def test_no_cases_is_an_error(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr


@pytest.mark.slow
def test_pytest_collects_cases_and_shows_what_is_wrong(tmp_path: Path) -> None:
    suite(tmp_path, {"expect": {"taken": ["a->bad"]}}, {"expect": {"status": "success"}})
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert "expected edge a->bad to be taken; 'a' ended as success" in done.stdout


@pytest.mark.slow
def test_pytest_names_a_stale_case(tmp_path: Path) -> None:
    suite(tmp_path, {"steps": {"zz": {}}, "expect": {}})
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert done.returncode == 2 and "stale: the workflow has no step 'zz'" in done.stdout
