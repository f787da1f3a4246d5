"""Attacks by content alone: a job, an input or a file that is nested so deeply that whatever reads
it fails. Each test says what it tries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import worker
from tests.support.command import start_worker
from tests.support.helpers import check_events, job, run_job, workflow
from worker.core.events import to_json
from worker.util.nesting import NESTING_LIMIT, nests_deeper

NEST = "let o = {}; for (let i = 1; i < LEVELS; i++) o = { o };"
LEVELS = [NESTING_LIMIT + 1, 1000, 5000, 100_000]


def nest(levels: int) -> str:
    return NEST.replace("LEVELS", str(levels))


def deep(levels: int) -> str:
    return '{"o":' * (levels - 1) + "{}" + "}" * (levels - 1)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(
    "end",
    ["return o", "s.data = o; throw new Error('x')", "return { data: [JSON.parse('[1]'), o] }"],
    ids=["returned", "failed", "inside"],
)
def test_a_job_makes_a_state_that_no_parser_reads(levels: int, end: str) -> None:
    result = run_job(f"fn(s => {{ {nest(levels)} {end}; }});")
    assert (result.status, result.error_type) == ("killed", "StateTooLargeError"), result.error
    assert "nested" in (result.error_message or "")
    assert result.final_state is None


def test_a_state_of_as_many_levels_as_allowed_is_a_state() -> None:
    result = run_job(f"fn(s => {{ {nest(NESTING_LIMIT)} return o; }});")
    assert result.status == "success"
    assert json.dumps(result.final_state).count("{") == NESTING_LIMIT


@pytest.mark.parametrize("levels", [NESTING_LIMIT + 1, 1000, 3000])
def test_a_job_throws_an_error_whose_details_no_parser_reads(levels: int) -> None:
    """Tries to end as an exception, which alerts a person."""
    source = f"fn(s => {{ {nest(levels)} const e = new Error('x'); e.d = o; throw e; }});"
    result = run_job(source)
    assert (result.status, result.error_type) == ("killed", "StateTooLargeError"), result.error


def test_a_job_throws_an_error_of_as_many_levels_as_an_error_may_have() -> None:
    # The error stands four levels deep in the state that the next step gets.
    source = (
        f"fn(s => {{ {nest(NESTING_LIMIT - 4)} const e = new Error('x'); e.d = o; throw e; }});"
    )
    assert run_job(source).error_type == "JobError"


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("way", ["(state.data = o, true)", "(() => { throw { o } })()"])
def test_a_condition_makes_a_state_or_an_error_that_no_parser_reads(levels: int, way: str) -> None:
    condition = f"(() => {{ {nest(levels)} return {way}; }})()"
    steps = (job("fn(s => s);", "a", next={"b": {"condition": condition}}), job("fn(s => s);", "b"))
    result = worker.run(workflow(*steps), {})
    check_events(result)
    assert result.error_type in ("StateTooLargeError", "EdgeConditionError"), result.error
    assert not nests_deeper(to_json(result.events[-1]))


def test_a_python_step_makes_a_state_that_no_parser_reads() -> None:
    source = (
        "def step(state):\n    x = []\n    for _ in range(5000): x = [x]\n    return {'data': x}"
    )
    step = {"id": "a", "adaptor": "python", "expression": source}
    result = worker.run(workflow(step), {})
    check_events(result)
    assert (result.status, result.error_type) == ("killed", "StateTooLargeError"), result.error


@pytest.mark.slow
@pytest.mark.parametrize("levels", LEVELS)
def test_the_command_runs_a_job_or_gets_an_input_that_no_parser_reads(
    levels: int, tmp_path: Path
) -> None:
    """Tries to end the command by a defect (exit code 5) in the run, its files, or its replay."""
    steps = [job(f"fn(s => {{ {nest(levels)} return o; }});")]
    file, input = tmp_path / "w.json", tmp_path / "in.json"
    file.write_text(json.dumps({"workflow": {"name": "w", "steps": steps}}))
    run = start_worker(
        "run", str(file), "-o", str(tmp_path / "out.json"), "--record", str(tmp_path / "r")
    )
    assert run.returncode == 4, run.stderr
    assert "StateTooLargeError" in run.stdout
    assert start_worker("replay", str(tmp_path / "r")).returncode == 0
    input.write_text(deep(levels))
    refused = start_worker("run", str(file), "--input", str(input))
    assert refused.returncode == 2 and "nested" in refused.stderr, refused.stderr
