"""The fixture for tests in Python, used as users would use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.errors import UsageError
from worker.testing.fixtures import WorkflowUnderTest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.workflow("graphs/referral.yaml")


@pytest.fixture
def referral() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "graphs/referral.input.json").read_text())
    return found


def test_a_failure_goes_where_it_should(
    workflow: WorkflowUnderTest, referral: dict[str, Any]
) -> None:
    run = workflow.with_step("fetch-patient", fails="JobError", message="404").run(input=referral)
    assert run.status == "success"
    assert run.took("fetch-patient", "alert-nurse")
    assert not run.took("fetch-patient", "upsert-record")
    assert run.final_state["errors"]["fetch-patient"]["message"] == "404"


async def test_it_runs_in_async_tests_too(
    workflow: WorkflowUnderTest, referral: dict[str, Any]
) -> None:
    run = await workflow.run_async(referral)
    assert run.steps == ["validate-referral", "fetch-patient", "upsert-record", "notify-facility"]
    assert run.visited("notify-facility") and not run.visited("alert-nurse")


def test_time_is_virtual(workflow: WorkflowUnderTest, referral: dict[str, Any]) -> None:
    slow = workflow.with_limits(timeout=600).with_step("fetch-patient", takes=601)
    assert slow.run(referral).error_type == "TimeoutError"
    assert workflow.with_step("fetch-patient", hangs=True).run(referral).status == "killed"


def test_one_execution_can_be_scripted_alone(
    workflow: WorkflowUnderTest, referral: dict[str, Any]
) -> None:
    run = workflow.with_step("fetch-patient", fails="TypeError", execution=1).run(referral)
    assert run.steps[-1] == "notify-facility"


def test_scripting_never_changes_the_workflow_it_was_called_on(
    workflow: WorkflowUnderTest, referral: dict[str, Any]
) -> None:
    workflow.with_step("fetch-patient", fails="JobError")
    assert not workflow.run(referral).visited("alert-nurse")


def test_an_answer_explains_itself(workflow: WorkflowUnderTest, referral: dict[str, Any]) -> None:
    run = workflow.run(referral)
    assert repr(run.took("fetch-patient", "alert-nurse")) == (
        "fetch-patient->alert-nurse: 'fetch-patient' ended as success, and its condition is on_job_failure"
    )
    assert "'alert-nurse' never ran: validate-referral → " in repr(run.visited("alert-nurse"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": "fetch-patent", "fails": "JobError"}, "did you mean 'fetch-patient'?"),
        ({"step": "fetch-patient", "fails": "Oops"}, "unknown error type 'Oops'"),
    ],
)
def test_a_mistake_is_no_call(
    workflow: WorkflowUnderTest, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        workflow.with_step(**arguments)


@pytest.mark.slow
def test_a_failing_assert_shows_the_reason(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(
        json.dumps(
            {
                "steps": [
                    {
                        "id": "a",
                        "expression": "export default [];",
                        "next": {"b": "on_job_failure"},
                    },
                    {"id": "b"},
                ]
            }
        )
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.workflow('w.json')\n"
        "def test_it(workflow):\n"
        "    assert workflow.run().took('a', 'b')\n"
        "def test_unmarked(workflow):\n"
        "    pass\n"
    )
    line = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert "a->b: 'a' ended as success, and its condition is on_job_failure" in done.stdout, (
        done.stdout
    )
    assert "no workflow file: mark the test" in done.stdout
