"""Cases beyond one run of scripted steps: matrices, time, retries, schedules, states."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.acceptance.test_scenarios import check, command, suite
from worker.errors import LoadError
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case
from worker.testing.json_schema import case_schema
from worker.testing.matrix import COMBINATION_LIMIT
from worker.util.plural import count_of
from worker.workflow.documents.document import read_document

ROOT = Path(__file__).parents[2]
SUITES = sorted((ROOT / "graphs").glob("*.cases.yaml"))


# Longer than messages show.
MINUTES = ",".join(map(str, range(60)))


def messages(folder: Path, *cases: dict[str, Any]) -> str:
    """The error of reading these cases."""
    with pytest.raises(LoadError) as caught:
        load_cases(suite(folder, *cases))
    return str(caught.value)


# --- matrices -------------------------------------------------------------------------------------


def test_a_matrix_stands_for_every_combination(tmp_path: Path) -> None:
    case = {
        "name": "a ${type} after ${seconds} s",
        "matrix": {"type": ["JobError", "TypeError"], "seconds": [1, 2.5]},
        "steps": {"a": {"fails": "${type}", "takes": "${seconds}"}},
        "expect": {"path": ["a", "bad"], "state": {"errors": {"a": {"severity": "fail"}}}},
    }
    cases = load_cases(suite(tmp_path, case))
    assert [one.name for one in cases] == [
        "a JobError after 1 s",
        "a JobError after 2.5 s",
        "a TypeError after 1 s",
        "a TypeError after 2.5 s",
    ]
    assert [one.script["a"][0].takes_s for one in cases] == [1, 2.5, 1, 2.5]
    assert all(run_case(one).mismatches == () for one in cases)


def test_a_name_without_variables_gets_the_values(tmp_path: Path) -> None:
    case = {"name": "x", "matrix": {"v": [{"n": 1}]}, "input": {"data": "${v}"}, "expect": {}}
    (one,) = load_cases(suite(tmp_path, case))
    assert one.name == 'x [{"n":1}]' and one.input == {"data": {"n": 1}}


def test_steps_can_be_named_by_a_matrix_and_stale_ones_are_found(tmp_path: Path) -> None:
    case = {"matrix": {"s": ["a", "zz"]}, "steps": {"${s}": {"fails": "JobError"}}, "expect": {}}
    assert "stale: the workflow has no step 'zz'" in messages(tmp_path, case)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ({"v": []}, "expected a list of values, found none"),
        ({"v": 1}, "expected a list"),
        ({"w": [1]}, "the case never uses ${w}"),
        ({"v": list(range(COMBINATION_LIMIT + 1))}, "over the limit"),
    ],
)
def test_a_matrix_that_cannot_be_meant_is_an_error(
    tmp_path: Path, matrix: dict[str, Any], message: str
) -> None:
    assert message in messages(tmp_path, {"matrix": matrix, "timeout": "${v}", "expect": {}})


# --- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({"state_at": {"$.data.list[1].n": 2, "$.data.list[*].n": [1, 2]}}, None),
        ({"state_at": {"$.data.list[1].n": 3}}, "final state at $.data.list[1].n: expected 3, found 2"),
        ({"state_at": {"$.data.none": 3}}, "expected 3 at $.data.none, found nothing"),
        ({"state_at": {"$..n": []}}, "final state at $..n: expected [], found [1, 2]"),
        ({"outputs": {"a": {"data": {"list": [{"n": 1}, {"n": 2}]}}}}, None),
        ({"outputs": {"a": {"data": {"list": []}}}}, "output of 'a'.data.list: expected []"),
        ({"outputs": {"bad": {}}}, "expected output 0 of 'bad', which ran 0 times"),
        ({"outputs": {"ok": {"1": {}}}}, "expected output 1 of 'ok', which ran 1 time"),
    ],
)  # fmt: skip
def test_states_and_outputs_are_looked_into(
    tmp_path: Path, expect: dict[str, Any], message: str | None
) -> None:
    steps = {"a": {"returns": {"data": {"list": [{"n": 1}, {"n": 2}]}}}}
    found = check(tmp_path, steps=steps, expect=expect)
    assert found == [] if message is None else any(message in one for one in found), found


def test_outputs_are_told_apart_by_execution(tmp_path: Path) -> None:
    steps = {
        "a": {"returns": {"data": {"maybe": 1}}},
        "ok": {"0": {"returns": {"n": 0}}, "1": {"returns": {"n": 1}}},
    }
    expect = {"outputs": {"ok": {"0": {"n": 0}, "1": {"n": 1}}}}
    assert check(tmp_path, steps=steps, expect=expect) == []
    wrong = {"outputs": {"ok": {"1": {"n": 0}}}}
    assert check(tmp_path, steps=steps, expect=wrong) == ["output 1 of 'ok'.n: expected 0, found 1"]


def test_a_failing_step_can_leave_a_state_behind(tmp_path: Path) -> None:
    steps = {"a": {"fails": "JobError", "message": "half done", "leaves": {"data": {"sent": 3}}}}
    expect = {"state": {"data": {"sent": 3}, "errors": {"a": {"message": "half done"}}}}
    assert check(tmp_path, input={"data": {"sent": 0}}, steps=steps, expect=expect) == []


# --- time -----------------------------------------------------------------------------------------

TIMED = """
steps:
- id: a
  adaptor: common@1
  expression: |
    fn(async state => {
      const began = new Date();
      await new Promise(done => setTimeout(done, state.data.ms ?? 0));
      return { began, took: new Date() - began, random: Math.random() };
    });
"""


def timed(folder: Path, **case: Any) -> Any:
    file = suite(folder, {"expect": {}, **case})
    (folder / "w.yaml").write_text(TIMED)
    (one,) = load_cases(file)
    return run_case(one).results[-1]


def test_real_code_sees_the_virtual_time_and_waits_for_nothing(tmp_path: Path) -> None:
    ran = timed(tmp_path, at="2026-05-01T07:30:00+02:00", input={"data": {"ms": 120_000}})
    assert ran.final_state["began"] == "2026-05-01T05:30:00.000Z"
    assert ran.final_state["took"] == 120_000 and ran.duration // 1000 == 120_000


def test_a_real_step_that_waits_too_long_is_killed_on_virtual_time(tmp_path: Path) -> None:
    ran = timed(tmp_path, timeout=60, input={"data": {"ms": 60_001}})
    assert ran.status == "killed" and ran.error_type == "TimeoutError"


def test_the_same_case_is_the_same_run(tmp_path: Path) -> None:
    one, other = (timed(tmp_path, input={"data": {"ms": 5}}) for _ in range(2))
    assert one.final_text == other.final_text
    times = [[event.timestamp for event in run.events] for run in (one, other)]
    assert one.run_id == other.run_id and times[0] == times[1]


def test_a_moment_must_be_one(tmp_path: Path) -> None:
    assert "expected a date and time" in messages(tmp_path, {"at": "monday", "expect": {}})


# --- retries --------------------------------------------------------------------------------------


def test_executions_are_counted_through_retries(tmp_path: Path) -> None:
    case = {
        "retry": {"times": 3, "after": 60},
        "steps": {"ok": {"0-1": {"fails": "JobError"}, "*": {"returns": {"done": True}}}},
        "expect": {
            "status": "success",
            "state": {"done": True},
            "runs": [{"status": "failed"}, {"status": "failed"}, {"status": "success"}],
        },
    }
    (one,) = load_cases(suite(tmp_path, case))
    verdict = run_case(one)
    assert verdict.mismatches == ()
    starts = [result.events[0].timestamp for result in verdict.results]
    assert starts[1] - starts[0] >= 60_000_000 and starts[2] - starts[1] >= 60_000_000


def test_a_retry_can_begin_at_a_step_with_its_input(tmp_path: Path) -> None:
    case = {
        "retry": {"times": 1, "start_at": "ok"},
        "steps": {"a": {"returns": {"kept": 7}}, "ok": {"0": {"fails": "JobError"}}},
        "expect": {"path": ["ok"], "state": {"kept": 7}, "runs": [{"path": ["a", "ok"]}, {}]},
    }
    # The condition on `maybe` reads state.data, so the state must have one.
    case["steps"]["a"] = {"returns": {"kept": 7, "data": {}}}  # type: ignore[index]
    assert check(tmp_path, **case) == []


def test_runs_that_never_came_are_missed(tmp_path: Path) -> None:
    case = {"retry": {"times": 2}, "expect": {"runs": [{}, {}]}}
    assert check(tmp_path, **case) == ["expected 2 runs, found 1"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_as_many_runs_are_expected_as_are_listed(tmp_path: Path, count: int) -> None:
    case = {
        "retry": {"times": 2},
        "steps": {"a": {"fails": "ReferenceError"}},
        "expect": {"runs": [{"status": "crashed"}] * count},
    }
    expected = [] if count == 3 else [f"expected {count_of(count, 'run')}, found 3"]
    assert check(tmp_path, **case) == expected


def test_a_run_that_is_listed_is_checked_by_its_own_expectation(tmp_path: Path) -> None:
    case = {
        "retry": {"times": 1},
        "steps": {"ok": {"0": {"fails": "JobError"}}},
        "expect": {"runs": [{"status": "success"}, {"status": "failed"}]},
    }
    assert check(tmp_path, **case) == [
        "run 1: expected status success, found failed (JobError: scripted), after a ✓ → ok ✗",
        "run 2: expected status failed, found success, after a ✓ → ok ✓",
    ]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"retry": {"times": 0}}, "expected a whole number from 1"),
        ({"retry": {"times": 1, "start_at": "zz"}}, "stale"),
        ({"cron": {"times": 1}}, "the workflow has no cron trigger"),
        ({"cron": {"times": 1, "expression": "every day"}}, "cannot be read"),
        ({"expect": {"state_at": {"data.x": 1}}}, "is not a JSONPath"),
        ({"cron": {"times": 1, "expression": f"{MINUTES} * * * 9"}}, "cannot be read"),
        ({"expect": {"state_at": {"data.x": 1}}}, "is not a JSONPath"),
        ({"expect": {"runs": [{"runs": []}]}}, "unknown key 'runs'"),
    ],
)
def test_mistakes_are_found_before_anything_runs(
    tmp_path: Path, case: dict[str, Any], message: str
) -> None:
    assert message in messages(tmp_path, {"expect": {}, **case})


def test_a_long_schedule_is_read_whole(tmp_path: Path) -> None:
    expression = f"{MINUTES} * * * 5"
    case = {"cron": {"times": 1, "expression": expression}, "expect": {}}
    assert load_cases(suite(tmp_path, case))[0].schedule.expression == expression  # type: ignore[union-attr]


def test_a_mistake_is_shown_with_its_line(tmp_path: Path) -> None:
    file = suite(tmp_path, {"expect": {}})
    place = re.escape(str(file))
    text = file.read_text()
    for old, new, message in [
        ("expect:", "expct:", r":\d+:\d+: cases\[0\].expct: unknown key 'expct'; did you mean"),
        ("workflow: ", "workflow: no-", r":\d+:\d+: workflow: there is no file '.*no-"),
        (
            "w.yaml",
            "w.yml",
            r":\d+:\d+: workflow: there is no file '.*w.yml'; did you mean '",
        ),
        ("cases:", "workflows:", r":1:1: this is not a case file"),
    ]:
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(LoadError, match=f"^{place}{message}"):
            load_cases(file)


def test_an_edge_without_an_arrow_is_shown_how_to_write_it(tmp_path: Path) -> None:
    text = messages(tmp_path, {"expect": {"not_taken": ["a"]}})
    assert "no edge 'a'; an edge is written SOURCE->TARGET" in text


def test_a_keyword_that_matches_nothing_is_repeated() -> None:
    done = command("graphs/referral.cases.yaml", "-k", "zz")
    assert done.returncode == 2 and "-k zz: no name of a case contains this" in done.stderr


# --- schedules ------------------------------------------------------------------------------------


def test_a_cron_trigger_fires_on_virtual_time_with_the_last_final_state(tmp_path: Path) -> None:
    source = "fn(s => ({ runs: [...(s.runs ?? []), new Date().toISOString()] }));"
    text = yaml.safe_dump(
        {
            "workflows": {
                "w": {
                    "jobs": {"a": {"adaptor": "common@1", "body": source}},
                    "triggers": {"t": {"type": "cron", "cron_expression": "0 3 * * 1"}},
                    "edges": {"t->a": {"source_trigger": "t", "target_job": "a"}},
                }
            }
        }
    )
    case = {
        "cron": {"times": 3},
        "steps": {"a": {"1": {"fails": "JobError"}}},
        "expect": {"status": "success", "runs": [{}, {"status": "failed"}, {}]},
    }
    file = suite(tmp_path, {"expect": {}})
    (tmp_path / "w.yaml").write_text(text)
    file.write_text(yaml.safe_dump({"workflow": "w.yaml", "cases": [{"name": "x", **case}]}))
    (one,) = load_cases(file)
    verdict = run_case(one)
    assert verdict.mismatches == ()
    # The second run failed: the third one continues from the first.
    mondays = ["2026-01-05T03:00:00.000Z", "2026-01-19T03:00:00.000Z"]
    assert verdict.results[-1].final_state == {"runs": mondays}


# --- the schema -----------------------------------------------------------------------------------


def shipped() -> Any:
    return json.loads((resources.files("worker.testing") / "cases.schema.json").read_text("utf-8"))


def test_the_shipped_schema_is_the_one_that_the_tables_give() -> None:
    assert shipped() == case_schema(), "run: make schema"


def test_the_command_prints_the_schema() -> None:
    assert json.loads(command("--schema").stdout) == case_schema()


@pytest.mark.slow
@pytest.mark.parametrize("file", SUITES, ids=[file.name for file in SUITES])
def test_the_samples_are_what_the_schema_asks_for(file: Path) -> None:
    jsonschema.validate(read_document(file).root, shipped())


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"expect": {"status": "fine"}},
        {"expect": {}, "steps": {"a": {"fails": "Oops"}}},
        {"expect": {}, "steps": {"a": {"fials": "JobError"}}},
        {"expect": {}, "steps": {"a": {"first": {"fails": "JobError"}}}},
        {"expect": {}, "timeout": "long"},
        {"expect": {}, "retry": {"times": 0}},
        {"expect": {}, "retry": {}},
        {"expect": {"runs": [{"runs": []}]}},
        {"expect": {"path": "a"}},
    ],
)
def test_what_the_schema_underlines_the_reader_refuses_too(
    tmp_path: Path, case: dict[str, Any]
) -> None:
    document = {"workflow": "w.yaml", "cases": [{"name": "x", **case}]}
    assert list(jsonschema.Draft202012Validator(shipped()).iter_errors(document))
    messages(tmp_path, case)
