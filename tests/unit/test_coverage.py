"""The coverage of rules: what counts, what is missed, and how sessions add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.acceptance.test_scenarios import command, suite
from worker.errors import UsageError
from worker.testing.coverage import measure, merge, rules_of, save
from worker.testing.coverage_marks import marks_of

STEPS = {
    "steps": [
        {"id": "t", "next": {"a": True}},
        {
            "id": "a",
            "adaptor": "common@1",
            "expression": "fn(s => { if (s.data.bad) throw new Error('x'); return s; });",
            "next": {
                "b": "on_job_success",
                "c": "on_job_failure",
                "d": {"condition": "state.data.d"},
                "e": True,
                "f": False,
                "g": {"condition": "always", "disabled": True},
            },
        },
        *({"id": id, "adaptor": "common@1", "expression": "fn(s => s);"} for id in "bcdefg"),
    ]
}
WORKFLOW = worker.load(STEPS)


def run(**data: Any) -> worker.Result:
    return worker.run(WORKFLOW, {"data": data})


def test_rules_are_outcomes_of_steps_and_verdicts_on_edges() -> None:
    rules = set(rules_of(WORKFLOW))
    assert {"step a success", "step a failed", "edge a->b taken", "edge a->b not taken"} <= rules
    assert "edge a->e taken" in rules and "edge a->e not taken" not in rules
    assert not [rule for rule in rules if "->f" in rule or "->g" in rule or rule.split()[1] == "t"]


def test_a_run_exercises_what_it_shows() -> None:
    one = measure(WORKFLOW, [run(d=1)])
    assert {
        "step a success",
        "edge a->b taken",
        "edge a->c not taken",
        "edge a->d taken",
    } <= one.hits.keys()
    assert "step a failed" in one.missed and "edge a->d not taken" in one.missed


def test_runs_add_up() -> None:
    both = measure(WORKFLOW, [run(d=1), run(bad=1)])
    assert not [rule for rule in both.missed if rule.startswith(("edge", "step a"))]
    separate = merge(measure(WORKFLOW, [run(bad=1)]), measure(WORKFLOW, [run(d=1)]))
    assert separate == both


def test_an_aborted_step_exercises_no_edge() -> None:
    crash = worker.load(
        {
            "steps": [
                {"id": "a", "expression": "export default [() => nope];", "next": "b"},
                {"id": "b", "expression": "x"},
            ]
        }
    )
    one = measure(crash, [worker.run(crash, {})])
    assert one.hits == {} and one.aborts == {"ReferenceError": 1}


def test_files_accumulate_over_sessions_and_workflows(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    save(file, [measure(WORKFLOW, [run(d=1)])])
    (summed,) = save(file, [measure(WORKFLOW, [run(bad=1)])])
    assert summed.hits["step a success"] == 1 and summed.hits["step a failed"] == 1
    written = json.loads(file.read_text())["workflows"][0]
    assert written["percent"] == pytest.approx(summed.percent)


def test_a_file_that_holds_no_coverage_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "precious.json"
    file.write_text('{"years": "of work"}')
    with pytest.raises(UsageError, match="holds no coverage"):
        save(file, [measure(WORKFLOW, [])])
    assert file.read_text() == '{"years": "of work"}'


def test_the_referral_has_full_rule_coverage() -> None:
    done = command("graphs/referral.cases.yaml", "--fail-under", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 of 18 rules, 100 %" in done.stdout


def test_too_little_coverage_gives_exit_code_1(tmp_path: Path) -> None:
    file = suite(tmp_path, {"expect": {"status": "success"}})
    done = command(str(file), "--fail-under", "90", "--coverage", str(tmp_path / "rules.json"))
    assert done.returncode == 1
    assert "missed: step a failed" in done.stdout and "is less than 90 %" in done.stderr


def test_coverage_is_drawn_on_the_graph(tmp_path: Path) -> None:
    marks = marks_of(WORKFLOW, measure(WORKFLOW, [run(d=1)]))
    assert (marks.steps["a"].tone, marks.steps["a"].badge) == ("partly", "✓·")
    assert marks.steps["a"].note == "succeeded 1 times, failed 0 times"
    assert marks.edges["a->e"].tone == "covered" and marks.edges["a->c"].badge == "·✗"
    assert marks.steps["c"].tone == "missed" and "t" not in marks.steps
    target = tmp_path / "coverage.svg"
    done = command("graphs/referral.cases.yaml", "--draw", str(target))
    assert done.returncode == 0 and "drew Referral" in done.stdout
    assert "covered" in target.read_text()
