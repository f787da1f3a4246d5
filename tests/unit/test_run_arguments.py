"""Arguments of run, run_async and Pool.run: one signature, and errors before anything starts."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import worker
from worker.runner.run_fields import options_of

WORKFLOW = worker.load(
    {
        "options": {"run_timeout_ms": 500},
        "workflow": {
            "name": "w",
            "steps": [
                {"id": "a", "expression": "export default [s => ({ data: 1 })]", "next": "b"},
                {"id": "b", "expression": "export default [s => { console.log('hi'); return s; }]"},
            ],
        },
    }
)

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"inputs": {}}, "unknown option 'inputs'; did you mean 'input'?"),
    ({"timout": 3}, "unknown option 'timout'; did you mean 'timeout'?"),
    ({"zzz": 3}, "unknown option 'zzz' (expected one of timeout, memory_mb"),
    ({"timeout": "5"}, "timeout: expected a number above 0 and up to 86,400, found '5'"),
    ({"timeout": 0}, "timeout: expected a number above 0 and up to 86,400, found 0"),
    ({"timeout": -1}, "timeout: expected a number above 0"),
    ({"timeout": float("nan")}, "timeout: expected a number above 0"),
    ({"memory_mb": True}, "memory_mb: expected"),
    ({"options": worker.Options(), "timeout": 3}, "leave out timeout=, or options="),
    ({"options": 3}, "options: expected worker.Options, found int: 3"),
    ({"limits": worker.Limits(), "timeout": 3}, "limits= and timeout= both set a limit"),
    ({"only": "a", "start": "b"}, "only= starts and ends at one step"),
    ({"start": 3}, "start: expected the id of a step, found 3"),
    ({"allow_hosts": "example.org"}, "allow_hosts: expected a list of strings"),
    ({"credentials": "file.json"}, "credentials: expected a dict of credentials by name"),
    ({"credentials": {"dhis2": "secret"}}, "credentials: expected a dict for 'dhis2'"),
    ({"clock": "virtual"}, "clock: expected a worker.ClockKind, found 'virtual'"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_a_wrong_argument_is_an_error_that_names_it(fields: dict[str, Any], message: str) -> None:
    fields = dict(fields)
    with pytest.raises(worker.UsageError) as raised:
        options_of(WORKFLOW, fields.pop("options", None), fields)
    assert message in str(raised.value) and "secret" not in str(raised.value)


def test_the_three_have_one_signature() -> None:
    names = [
        [name for name in inspect.signature(function).parameters if name != "self"]
        for function in (worker.run, worker.run_async, worker.Pool.run)
    ]
    assert names[0] == names[1] == names[2]
    assert {"timeout", "memory_mb", "credentials", "allow_hosts", "sinks", "cancel"} < {*names[0]}


def test_limits_are_those_of_the_argument_else_of_the_file() -> None:
    assert options_of(WORKFLOW, None, {}).limits is None
    options = options_of(WORKFLOW, None, {"memory_mb": 64})
    assert options.limits is not None
    assert (options.limits.memory_mb, options.limits.timeout_s) == (64, 0.5)


def test_hosts_of_credentials_are_allowed_without_an_option() -> None:
    assert options_of(WORKFLOW, None, {}).allow_hosts == ()
    assert options_of(WORKFLOW, worker.Options(), {}).allow_hosts == ()
    assert options_of(WORKFLOW, None, {"allow_hosts": ["x.org"]}).allow_hosts == ("x.org",)


def test_a_result_has_its_steps_a_dict_and_a_report(tmp_path: Path) -> None:
    result = worker.run(WORKFLOW, {}, timeout=20)
    assert result.step("a").output == {"data": 1}
    assert result.step("b").log == ("hi",)
    text = json.loads(json.dumps(result.to_dict()))
    assert text["status"] == "success" and [each["step"] for each in text["steps"]] == ["a", "b"]
    with pytest.raises(worker.UsageError, match="no step 'c' in this run"):
        result.step("c")
    page = worker.report(result, tmp_path / "new" / "run.html")
    assert "<!doctype html>" in page.read_text().lower()
    with pytest.raises(worker.UsageError, match="expected a Result"):
        worker.report({}, tmp_path / "x.html")  # type: ignore[arg-type]
    with pytest.raises(worker.UsageError, match=r"end .*x.pdf in .html"):
        worker.report(result, tmp_path / "x.pdf")


def test_a_step_is_named_from_python_as_on_the_command_line() -> None:
    assert options_of(WORKFLOW, None, {"start": "B", "end": "b"}).start == "b"
    with pytest.raises(worker.UsageError, match=r"only: there is no step 'c'"):
        options_of(WORKFLOW, None, {"only": "c"})


def test_a_result_fits_a_line_of_a_notebook() -> None:
    failure = worker.StepError(type="JobError", message="no")
    result = worker.Result(
        run_id="r", status=worker.Status.FAILED, error=failure, final_text=None, events=(),
        duration=1500,
    )  # fmt: skip
    assert repr(result) == "<Result failed (JobError: no) in 1.5 ms: no step>"


def test_the_package_of_tests_needs_no_import_of_its_own() -> None:
    script = "import worker; worker.testing.load_cases"
    subprocess.run([sys.executable, "-c", script], check=True)
