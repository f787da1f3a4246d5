"""Conformance: each run ends here as it did in OpenFn's own worker.

``data/conformance.jsonl`` holds one case a line: a plan, its input, and the path, the status and
the final state that came out of OpenFn's engine, corrected where its status document disagrees.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import worker
from worker.audit.laws import first_breach

DATA = Path(__file__).parents[1] / "data"


def read_cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


CASES = read_cases("conformance.jsonl")
ERROR_CASES = read_cases("errors-and-state.jsonl")
DEVIATIONS: dict[str, str] = {}
"""Case ids that do not pass, each with its reason."""


def reduce_errors(value: Any) -> Any:
    """Entries of ``errors`` are compared by severity, and by message where the job chose it."""
    if isinstance(value, list):
        return [reduce_errors(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: {id: reduce_entry(entry) for id, entry in item.items()}
        if key == "errors" and isinstance(item, dict)
        else reduce_errors(item)
        for key, item in value.items()
    }


def reduce_entry(entry: dict[str, Any]) -> dict[str, Any]:
    chosen_by_job = entry.get("name", "JobError") == "JobError" and "message" in entry
    return {
        name: entry[name] for name in ("severity", "message") if name == "severity" or chosen_by_job
    }


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_runs_as_on_openfn(case: dict[str, Any]) -> None:
    if reason := DEVIATIONS.get(case["id"]):
        pytest.skip(reason)
    result = run_case(case)
    expected = case["expect"]
    if result.status in ("success", "failed"):
        assert reduce_errors(result.final_state) == reduce_errors(expected.get("final_state"))


@pytest.mark.parametrize("case", ERROR_CASES, ids=[case["id"] for case in ERROR_CASES])
def test_jobs_and_conditions_see_what_they_see_on_openfn(case: dict[str, Any]) -> None:
    result = run_case(case)
    if result.status in ("success", "failed"):
        assert result.final_state == case["expect"].get("final_state")


def run_case(case: dict[str, Any]) -> worker.Result:
    """Run a case; check its status, its error and its path."""
    options, expected = case["options"], case["expect"]
    result = worker.run(
        worker.load(case["plan"]),
        case["input"],
        # A run that never ends is killed after any time; the other runs end long before theirs.
        timeout=0.3
        if expected["run"]["error_type"] == "TimeoutError"
        else options["runTimeoutMs"] / 1000,
        memory_mb=options.get("memoryLimitMb", 500),
    )
    assert first_breach(result.events) is None
    path = [
        {
            "step": entry.step,
            "outcome": entry.outcome,
            **({"error_type": entry.error_type} if entry.error_type else {}),
            "next": list(entry.next),
        }
        for entry in result.path
    ]
    assert (result.status, result.error_type) == (
        expected["run"]["status"],
        expected["run"]["error_type"],
    ), result.error
    assert path == expected["path"]
    if "error_message" in expected["run"]:
        assert result.error_message == expected["run"]["error_message"]
    return result


def test_every_deviation_names_a_case() -> None:
    assert set(DEVIATIONS) <= {case["id"] for case in CASES}
