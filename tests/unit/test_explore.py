"""Exploration: every way that a workflow can go, what was pruned, and answers that hold up."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worker
from tests.support.command import ROOT, Done, call_worker
from tests.support.examples import examples
from worker.errors import UsageError
from worker.explore.explorer import (
    Choice,
    Ending,
    ExploredRun,
    Explorer,
    count_runs,
    decision_table,
)
from worker.explore.export_cases import case_file, describe_run
from worker.explore.properties import check_property, parse_property
from worker.runner.prepare import Options
from worker.runner.restarting_evaluator import RestartingEvaluator
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case
from worker.testing.coverage import measure
from worker.util.json import dumps

JOB = {"adaptor": "common@1", "expression": "fn(s => s);"}


def workflow(**next: Any) -> worker.Workflow:
    """Steps by name, each with its edges."""
    steps = [{"id": id, **JOB, **({"next": edges} if edges else {})} for id, edges in next.items()]
    return worker.load({"workflow": {"name": "explored", "steps": steps}})


ASKERS: list[RestartingEvaluator] = []


@pytest.fixture(autouse=True)
def let_askers_go() -> Iterator[None]:
    yield
    while ASKERS:
        ASKERS.pop().close()


def explorer(explored: worker.Workflow, input: Any = None) -> Explorer:
    asker = RestartingEvaluator(explored, Options())
    ASKERS.append(asker)
    return Explorer(plan=asker.plan, evaluate=asker, input=None if input is None else dumps(input))


def rows(explored: worker.Workflow, **options: Any) -> dict[str, str]:
    """Return path and status by label, without the aborts."""
    found = decision_table(explorer(explored, options.pop("input", None)), **options).rows
    kept = [run for run in found if not run.choices[-1].aborts]
    return {describe_run(run): f"{' '.join(run.steps)}: {run.status}" for run in kept}


def holds(explored: worker.Workflow, sentence: str) -> bool:
    steps = tuple(step.id for step in explored.steps)
    return check_property(explorer(explored), parse_property(sentence, steps)).holds


HANDLED = workflow(a={"b": "on_job_success", "c": "on_job_failure"}, b={}, c={})


def test_a_table_has_every_outcome_of_every_step() -> None:
    assert rows(HANDLED) == {
        "all goes well": "a b: success",
        "b fails": "a b: failed",
        "a fails": "a c: success",
        "a fails, c fails": "a c: failed",
    }


def test_crashes_and_kills_end_the_run_where_they_happen() -> None:
    aborts = [run for run in decision_table(explorer(HANDLED)).rows if run.choices[-1].aborts]
    found = {(describe_run(run), " ".join(run.steps), run.status.value) for run in aborts}
    assert found == {
        ("a crashes", "a", "crashed"),
        ("a is killed", "a", "killed"),
        ("b crashes", "a b", "crashed"),
        ("b is killed", "a b", "killed"),
        ("a fails, c crashes", "a c", "crashed"),
        ("a fails, c is killed", "a c", "killed"),
    }


def test_conditions_are_true_false_and_throwing_by_states_that_make_them_so() -> None:
    explored = workflow(a={"b": "state.data.age > 5", "c": "state.cases.length === 3"}, b={}, c={})
    found = explorer(explored)
    runs = decision_table(found).rows
    said = {describe_run(run) for run in runs if len(run.choices) == 2 or run.choices[-1].throws}
    assert {"no edge of a to b or c is taken", "the condition of a->c throws"} <= said
    assert any(describe_run(run) == "a leads to b and c" for run in runs)
    judged = [one for run in runs for one in run.choices if one.witness is not None]
    for one in judged:
        (again,) = found.evaluate("a", [one.witness])  # type: ignore[list-item]
        assert again.taken == one.taken and bool(again.error) == bool(one.throws)


def test_conditions_that_cannot_agree_are_not_combined() -> None:
    explored = workflow(a={"b": "state.data.n > 5", "c": "!(state.data.n > 5)"}, b={}, c={})
    assert holds(explored, "never both b and c") and not holds(explored, "b always runs")


def test_what_no_state_was_found_for_is_said() -> None:
    found = explorer(workflow(a={"b": "state.x === Math.PI * 1e9 && false"}, b={}))
    decision_table(found)
    assert list(found.pruned) == [
        "a condition that is true when 'a' succeeds: state.x === Math.PI * 1e9 && false",
        "a condition that is true when 'a' fails: state.x === Math.PI * 1e9 && false",
    ]


@pytest.mark.parametrize(
    ("condition", "name"),
    [("!sate.x", "sate"), ("$.data.x", "$"), ("!state.data.x && stat.x", "stat")],
)
def test_an_unknown_name_is_why_no_state_was_found(condition: str, name: str) -> None:
    found = explorer(workflow(a={"b": condition}, b={}))
    decision_table(found)
    assert found.pruned
    for reason in found.pruned:
        assert reason.endswith(
            f"{condition} (the condition of a->b threw ReferenceError: {name} is not defined)"
        )


def test_a_failure_is_in_the_state_that_conditions_see() -> None:
    explored = workflow(a={"b": "!state.errors", "c": "state.errors?.a"}, b={}, c={})
    assert holds(explored, "c always runs after a fails")
    assert holds(explored, "b never runs after a fails")
    assert holds(explored, "c never runs after a succeeds")


def test_a_known_input_decides_what_it_can() -> None:
    steps = [
        {"id": "t", "type": "webhook", "next": {"a": {"condition": "state.data.ok"}}},
        {"id": "a", **JOB},
    ]
    explored = worker.load({"workflow": {"name": "x", "steps": steps}})
    assert rows(explored, input={"data": {"ok": False}}) == {
        "no edge of t to a is taken": ": success"
    }
    assert set(rows(explored)) == {
        "no edge of t to a is taken",
        "t leads to a",
        "t leads to a, a fails",
    }


@pytest.mark.slow
def test_conditions_over_a_limit_end_the_run_and_are_no_cases() -> None:
    explored = workflow(a={"b": "(() => { for (;;); })()"}, b={})
    runs = decision_table(explorer(explored)).rows
    assert "the condition of a->b throws" in {describe_run(run) for run in runs}
    assert holds(explored, "b never runs")
    written = case_file(explored, "w.yaml", runs, None)["cases"]
    assert [case["name"] for case in written] == ["a crashes", "a is killed"]


def test_cases_of_a_known_input_have_it(tmp_path: Path) -> None:
    given = tmp_path / "input.json"
    given.write_text('{"data": {"age": 7}}')
    steps = [
        {"id": "t", "type": "webhook", "next": {"a": {"condition": "state.data.age > 5"}}},
        {"id": "a", **JOB},
    ]
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"workflow": {"name": "w", "steps": steps}}))
    target = tmp_path / "w.cases.yaml"
    assert command(file, "--input", given, "--write-cases", target).returncode == 0
    cases = load_cases(target)
    assert len(cases) == 4 and all(case.input == {"data": {"age": 7}} for case in cases)
    assert not any(run_case(case).mismatches for case in cases)


def branches(count: int) -> worker.Workflow:
    """A chain of diamonds: three steps and one branch point each."""
    next: dict[str, Any] = {}
    for n in range(count):
        on = {f"b{n + 1}": "on_job_success"} if n + 1 < count else {}
        condition = f"state.data.x{n} > {n}"
        next[f"b{n}"] = {f"l{n}": condition, f"r{n}": f"!({condition})"}
        next |= {f"l{n}": on, f"r{n}": on}
    return workflow(**next)


def test_thirty_steps_with_ten_branch_points_are_a_short_table_of_all_that_differs() -> None:
    found = explorer(branches(10))
    made = decision_table(found)
    assert len(made.rows) < 200 and sum(made.pruned.values()) > 1000
    assert {step for run in made.rows for step in run.steps} == {s.id for s in found.plan.steps}
    assert (count_runs(found) or 0) > 1_000_000


def test_all_combinations_are_as_many_as_were_counted() -> None:
    explored = branches(2)
    assert len(decision_table(explorer(explored), everything=True).rows) == count_runs(
        explorer(explored)
    )


def test_a_full_table_says_so() -> None:
    made = decision_table(explorer(branches(4)), everything=True, limit=20)
    assert len(made.rows) <= 20 + 4 and any("full" in reason for reason in made.pruned)


def test_more_situations_than_may_be_looked_at_are_no_proof() -> None:
    found = check_property(
        explorer(branches(6)), parse_property("never both l0 and r0", ("l0", "r0")), limit=50
    )
    assert found.counterexample is None and not found.complete and not found.holds


@pytest.mark.parametrize(
    ("sentence", "true"),
    [
        ("no failure of a goes unhandled", True),
        ("no failure of b goes unhandled", False),
        ("no failure goes unhandled", False),
        ("a always runs", True),
        ("b always runs", False),
        ("c never runs", False),
        ("c always runs after a fails", True),
        ("c always runs after a", False),
        ("b never runs after a fails", True),
        ("never both b and c", True),
        ("never both 'a' and \"c\"", False),
    ],
)
def test_sentences_about_all_runs(sentence: str, true: bool) -> None:
    assert holds(HANDLED, sentence) is true


@pytest.mark.parametrize("sentence", ["", "is it good?", "zz always runs", "never both b and zz"])
def test_a_sentence_that_asks_nothing_is_an_error(sentence: str) -> None:
    with pytest.raises(UsageError, match=r"unknown property|no step"):
        parse_property(sentence, ("a", "b"))


def test_siblings_are_combined_for_questions_but_not_for_the_table() -> None:
    explored = workflow(a={"b": True, "c": True}, b={"x": "on_job_failure"}, c={"y": "on_job_failure"}, x={}, y={})  # fmt: skip
    assert "b fails, c fails" not in rows(explored)
    assert not holds(explored, "never both x and y")


# --- against brute force --------------------------------------------------------------------------


@st.composite
def small_workflows(draw: st.DrawFn, most: int = 5) -> worker.Workflow:
    ids = [f"s{n}" for n in range(draw(st.integers(1, most)))]
    kinds = st.sampled_from(["always", "on_job_success", "on_job_failure", None])
    next = {}
    for place, id in enumerate(ids):
        drawn = {later: draw(kinds) for later in ids[place + 1 :]}
        next[id] = {later: kind for later, kind in drawn.items() if kind}
    return workflow(**next)


def all_runs(found: Explorer) -> list[ExploredRun]:
    waiting, ended = [found.start()], []
    while waiting:
        node = waiting.pop()
        ended += [node.run()] if node.ended else []
        waiting += [found.follow(node, choice) for choice in found.choices(node)]
    return ended


@settings(max_examples=examples(25))
@given(small_workflows(most=4))
def test_answers_are_those_of_brute_force(explored: worker.Workflow) -> None:
    check_by_brute_force(explored)


# Five steps can have 200,000 runs, and an example visits each of them.
@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=examples(25))
@given(small_workflows())
def test_answers_of_larger_workflows_are_those_of_brute_force(explored: worker.Workflow) -> None:
    check_by_brute_force(explored)


def check_by_brute_force(explored: worker.Workflow) -> None:
    found = explorer(explored)
    steps = tuple(step.id for step in explored.steps)
    runs = [run for run in all_runs(found) if not any(one.aborts for one in run.choices)]
    for one, other in itertools.product(steps, repeat=2):
        sentence = f"never both {one} and {other}"
        both = any({one, other} <= set(run.steps) for run in runs)
        assert check_property(found, parse_property(sentence, steps)).holds is not both
    unhandled = any(done.outcome.error and not done.next for run in runs for done in run.path)
    assert (
        check_property(found, parse_property("no failure goes unhandled", steps)).holds
        is not unhandled
    )


# Five steps can have 200,000 runs, and an example visits each of them.
@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=examples(25))
@given(small_workflows())
def test_the_table_leaves_out_no_outcome_and_no_edge(explored: worker.Workflow) -> None:
    """Each result of a step or an edge in some run is in some row of the pruned table."""
    found = explorer(explored)

    def shown(runs: Any) -> set[Any]:
        done = [one for run in runs for one in run.path]
        endings = {(one.step, one.ending) for run in runs for one in run.choices}
        return {(d.step.id, d.next, bool(d.outcome.error)) for d in done} | endings

    every = all_runs(found)
    pruned = decision_table(found).rows
    assert shown(pruned) == shown(every)
    assert {run.status for run in pruned} == {run.status for run in every}
    assert len(every) == count_runs(found)


# --- as cases ---------------------------------------------------------------------------------------

SAMPLES = ["referral.yaml", "router.yaml", "join.json", "cron-sync.yaml", "triage.yaml"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_row_is_a_case_that_passes_and_together_they_exercise_every_rule(
    name: str, tmp_path: Path
) -> None:
    explored = worker.load(ROOT / "graphs" / name)
    made = decision_table(explorer(explored))
    file = tmp_path / "all.cases.json"
    source = json.dumps(case_file(explored, str(ROOT / "graphs" / name), made.rows, None))
    file.write_text(source)
    cases = load_cases(file)
    verdicts = [run_case(case) for case in cases]
    assert len(cases) == len(made.rows)
    assert [(v.case.name, v.mismatches) for v in verdicts if v.mismatches] == []
    assert measure(explored, [run for v in verdicts for run in v.results]).percent == 100


def test_a_step_that_runs_twice_is_scripted_for_each_time() -> None:
    explored = workflow(a={"b": True, "c": True}, b={"d": True}, c={"d": True}, d={})
    twice = next(
        run for run in decision_table(explorer(explored)).rows if describe_run(run) == "d fails"
    )
    assert case_file(explored, "w.yaml", [twice], None)["cases"][0]["steps"]["d"] == {
        "0": {"fails": "JobError"},
        "*": {},
    }


# --- the command ----------------------------------------------------------------------------------


def command(*arguments: str | Path) -> Done:
    return call_worker("explore", *arguments, cwd=ROOT)


def test_the_command_prints_a_table_and_what_was_pruned() -> None:
    done = command("graphs/router.yaml")
    assert done.returncode == 0 and " cover " in done.stdout and "not listed:" in done.stdout
    assert "--aborts shows them" in done.stdout
    assert "classify crashes" in command("graphs/router.yaml", "--aborts").stdout


def test_a_workflow_that_always_crashes_is_named_so(tmp_path: Path) -> None:
    job = {"expression": "export default [s => s]"}
    steps = [{"id": "a", **job, "next": {"b": "nothing_so_named"}}, {"id": "b", **job}]
    (tmp_path / "w.json").write_text(json.dumps({"steps": steps}))
    done = command(tmp_path / "w.json")
    assert done.stdout.startswith("every run ends at a step that crashes or is killed, or at a ")


def test_a_counterexample_gives_exit_code_1() -> None:
    done = command("graphs/referral.yaml", "--ask", "no failure goes unhandled")
    assert done.returncode == 1 and "✗ no failure goes unhandled" in done.stdout
    assert "path: validate-referral" in done.stdout
    done = command("graphs/referral.yaml", "--ask", "never both alert-nurse and upsert-record")
    assert done.returncode == 0 and "✓ never both" in done.stdout


def test_the_command_writes_json() -> None:
    done = command("graphs/triage.yaml", "--json", "--ask", "never both score and register")
    *listed, last = map(json.loads, done.stdout.splitlines())
    assert {one["type"] for one in listed} == {"row"}
    assert last["type"] == "answer" and not last["holds"] and last["counterexample"]["path"]


def test_written_cases_pass_and_are_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "referral.cases.yaml"
    assert command("graphs/referral.yaml", "--write-cases", target).returncode == 0
    done = call_worker("test", target, "--fail-under", "100")
    assert done.returncode == 0 and "16 passed, 0 failed" in done.stdout
    again = command("graphs/referral.yaml", "--write-cases", target)
    assert again.returncode == 2 and "exists already" in again.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("nowhere.yaml",),
        ("graphs/referral.yaml", "--ask", "?"),
        ("graphs/referral.yaml", "--start-at", "zz"),
        ("graphs/referral.yaml", "--write-cases", "cases.txt"),
    ],
)
def test_wrong_usage_is_said_in_a_line(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_choice_says_whether_it_ends_the_run() -> None:
    assert Choice(step="a", ending=Ending.CRASHES).aborts
    assert not Choice(step="a", ending=Ending.FAILS).aborts
