"""The coverage of rules: what counts, what is missed, and how sessions add up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.acceptance.test_scenarios import command, suite
from worker.errors import UsageError
from worker.testing.coverage import Coverage, measure, merge, rules_of, save
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


def test_rules_are_outcomes_of_steps_and_results_of_edges() -> None:
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


def coverage(rules: dict[str, int], aborts: dict[str, int] | None = None) -> Coverage:
    hits = {rule: count for rule, count in rules.items() if count}
    return Coverage(workflow="w", rules=tuple(rules), hits=hits, aborts=aborts or {})


def test_aborts_and_hits_add_up_exactly_over_sessions(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    save(file, [coverage({"step a success": 2, "step a failed": 0}, {"OomError": 1})])
    save(file, [coverage({"step a success": 3, "step a failed": 1}, {"OomError": 2, "TypeX": 1})])
    (total,) = save(file, [coverage({"step a success": 0, "step a failed": 0})])
    assert total.hits == {"step a success": 5, "step a failed": 1}
    assert total.aborts == {"OomError": 3, "TypeX": 1}
    assert json.loads(file.read_text())["workflows"][0]["aborts"] == {"OomError": 3, "TypeX": 1}


def test_the_rules_of_the_newer_session_count(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    save(file, [coverage({"step old success": 1, "step a success": 1})])
    (total,) = save(file, [coverage({"step a success": 0, "step new success": 0})])
    assert total.rules == ("step a success", "step new success")
    assert total.hits == {"step a success": 1} and total.percent == 50
    # Another workflow's stay as they were.
    save(file, [replace(coverage({"step x failed": 1}), workflow="other")])
    written = {one["workflow"]: one["rules"] for one in json.loads(file.read_text())["workflows"]}
    assert written["w"] == {"step a success": 1, "step new success": 0} and "other" in written


def test_a_file_of_an_older_version_is_added_to(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    rules = {"edge a->b taken": 0, "edge a->b refused": 2}
    old = {"workflow": "w", "percent": 50, "rules": rules, "aborts": {}}
    file.write_text(json.dumps({"version": 1, "workflows": [old]}))
    (total,) = save(file, [coverage({"edge a->b taken": 1, "edge a->b not taken": 1})])
    assert total.hits == {"edge a->b taken": 1, "edge a->b not taken": 3}


def test_a_share_is_of_the_rules_that_there_are() -> None:
    rules = {
        "step a success": 1,
        "step a failed": 0,
        "edge a->b taken": 3,
        "edge a->b not taken": 0,
    }
    assert coverage(rules).percent == 50 and coverage({}).percent == 100
    assert coverage(rules).missed == ("step a failed", "edge a->b not taken")


def test_a_file_that_holds_no_coverage_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "precious.json"
    file.write_text('{"years": "of work"}')
    with pytest.raises(UsageError, match="holds no coverage"):
        save(file, [measure(WORKFLOW, [])])
    assert file.read_text() == '{"years": "of work"}'


@pytest.mark.slow
def test_the_referral_has_full_rule_coverage() -> None:
    done = command("graphs/referral.cases.yaml", "--fail-under", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 of 18 rules, 100 %" in done.stdout


@pytest.mark.slow
def test_too_little_coverage_gives_exit_code_1(tmp_path: Path) -> None:
    file = suite(tmp_path, {"expect": {"status": "success"}})
    done = command(str(file), "--fail-under", "90", "--coverage", str(tmp_path / "rules.json"))
    assert done.returncode == 1
    assert "missed: step a failed" in done.stdout and "is less than 90 %" in done.stderr
    assert "earlier test runs" not in done.stderr
    again = command(str(file), "--coverage", str(tmp_path / "rules.json"))
    assert "rules.json: with what earlier test runs covered" in again.stderr


@pytest.mark.slow
def test_coverage_is_drawn_on_the_graph(tmp_path: Path) -> None:
    marks = marks_of(WORKFLOW, measure(WORKFLOW, [run(d=1)]))
    assert (marks.steps["a"].style, marks.steps["a"].badge) == ("partly", "✓·")
    assert marks.steps["a"].note == "succeeded 1 time, failed 0 times"
    assert marks.edges["a->e"].style == "covered" and marks.edges["a->c"].badge == "·✗"
    assert marks.steps["c"].style == "missed" and "t" not in marks.steps
    target = tmp_path / "coverage.svg"
    done = command("graphs/referral.cases.yaml", "--draw", str(target))
    assert done.returncode == 0 and "drew Referral" in done.stdout
    assert "covered" in target.read_text()
