"""``worker test --mutate``: survivors, their cases, the score, and mutants that change nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from tests.support.command import call_worker
from worker import load
from worker.core.status import Status
from worker.runner.pool import Pool
from worker.testing import Case, Expectation, RetryPolicy, load_cases, mutation, mutation_test
from worker.testing.case_mutants import case_mutants_of
from worker.testing.mutants import mutants_of

JOB = {"adaptor": "common@1", "expression": "fn(s => s);"}


def write(folder: Path, condition: str, *cases: dict[str, Any]) -> Path:
    steps = [{"id": "a", **JOB, "next": {"b": {"condition": condition}}}, {"id": "b", **JOB}]
    workflow = {"workflow": {"name": "w", "steps": steps}}
    (folder / "w.json").write_text(json.dumps(workflow), "utf-8")
    file = folder / "w.cases.yaml"
    file.write_text(
        yaml.safe_dump({"workflow": "w.json", "cases": list(cases)}, sort_keys=False), "utf-8"
    )
    return file


def case(age: int | None, *path: str) -> dict[str, Any]:
    returns: dict[str, Any] = {"data": {} if age is None else {"age": age}}
    steps = {"a": {"returns": returns}, "b": {}}
    return {"name": f"age {age}", "steps": steps, "expect": {"path": list(path)}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
def test_survivors_are_listed_with_the_case_that_would_notice_them(tmp_path: Path) -> None:
    file = write(tmp_path, "state.data.age > 5", case(4, "a"), case(9, "a", "b"))
    killers = tmp_path / "killers.cases.yaml"
    done = call_worker("test", file, "--mutate", "--fail-under", "100", "--write-cases", killers)
    assert done.returncode == 1
    assert "✗ no case notices: a->b with state.data.age >= 5" in done.stdout
    assert "✗ no case notices: a->b with state.data.age > 6" in done.stdout
    assert "the mutants is less than 100 %" in done.stderr
    assert call_worker("test", killers).returncode == 0
    assert_nothing_survives(file, killers)


@pytest.mark.slow
def test_survivors_of_one_path_have_a_case_for_each_state(tmp_path: Path) -> None:
    condition = "state.data.age > 5 && state.data.age < 60"
    file = write(tmp_path, condition, case(9, "a", "b"))
    killers = tmp_path / "killers.cases.yaml"
    call_worker("test", file, "--mutate", "--write-cases", killers)
    assert_nothing_survives(file, killers)


def assert_nothing_survives(file: Path, killers: Path) -> None:
    """Assert that the cases that were written, beside the old ones, notice everything."""
    all_cases = file.with_name("all.cases.yaml")
    contents = [yaml.safe_load(each.read_text("utf-8")) for each in (file, killers)]
    contents[0]["cases"] += contents[1]["cases"]
    all_cases.write_text(yaml.safe_dump(contents[0]), "utf-8")
    done = call_worker("test", all_cases, "--mutate", "--fail-under", "100")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_mutants_that_change_nothing_do_not_count(tmp_path: Path) -> None:
    file = write(tmp_path, "true || 1 == 2", case(4, "a", "b"))
    done = call_worker("test", file, "--mutate")
    assert "4 change nothing" in done.stdout
    # No case lets a step fail or crash, and the condition has no other survivors.
    survivors = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    changes = ("crashes where it fails", "fails where it crashes")
    assert survivors == [f"✗ no case notices: {step} {c}" for step in "ab" for c in changes]


@pytest.mark.slow
def test_mutants_are_not_run_again_for_the_same_cases(tmp_path: Path) -> None:
    file = write(tmp_path, "state.data.age > 5", case(5, "a"), case(6, "a", "b"))
    first = call_worker("test", file, "--mutate")
    (cache,) = (tmp_path / "cache" / "mutants").glob("*.json")
    before = cache.read_bytes()
    assert call_worker("test", file, "--mutate").stdout == first.stdout
    assert cache.read_bytes() == before
    # A cache of other cases, or a damaged one, is no proof.
    write(tmp_path, "state.data.age > 5", case(None, "a"))
    assert "survived" in call_worker("test", file, "--mutate").stdout
    cache.write_bytes(b"[1")
    assert "survived" in call_worker("test", file, "--mutate").stdout


@pytest.mark.slow
def test_errors_of_another_class_and_removed_retries_are_mutants(tmp_path: Path) -> None:
    fails_once = {"steps": {"a": {"0": {"fails": "JobError"}, "*": {}}, "b": {}}}
    retried = {**fails_once, "name": "again", "retry": {"times": 1}, "expect": {"through": ["a"]}}
    file = write(tmp_path, "!state.errors", retried)
    done = call_worker("test", file, "--mutate")
    assert "✗ no case notices: retries removed\n" in done.stdout
    assert "✗ no case notices: a crashes where it fails\n    when a fails" in done.stdout
    assert "workflow: runs no other step, ends as failed (JobError)" in done.stdout
    assert "mutant:   runs no other step, ends as crashed (ReferenceError)" in done.stdout
    [case] = load_cases(file)
    fails = replace(case, retry=RetryPolicy(), expect=Expectation(status=Status.FAILED))
    twice = replace(case, expect=Expectation(status=Status.SUCCESS))
    names = {survivor.name for survivor in mutation_test([fails, twice]).survivors}
    assert not names & {"retries removed", "a crashes where it fails"}


@pytest.mark.slow
def test_a_crash_that_becomes_a_failure_is_a_mutant(tmp_path: Path) -> None:
    crashes = {"name": "crash", "steps": {"a": {"fails": "ReferenceError"}, "b": {}}}
    names = []
    for expected in ({"never": ["b"]}, {"status": "crashed"}):
        [case] = load_cases(write(tmp_path, "false", {**crashes, "expect": expected}))
        names.append({survivor.name for survivor in mutation_test([case]).survivors})
    assert names[0] - names[1] == {"a fails where it crashes"}


@pytest.mark.slow
def test_a_step_that_crashes_each_time_fails_each_time_in_the_mutant(tmp_path: Path) -> None:
    steps = [
        {"id": "a", **JOB, "next": {"b": True, "c": True}},
        {"id": "b", **JOB, "next": {"d": True}},
        {"id": "c", **JOB, "next": {"d": True}},
        {"id": "d", **JOB},
    ]
    case = {"name": "crash", "steps": {"d": {"fails": "ReferenceError"}}}
    file = write(tmp_path, "true", {**case, "expect": {"status": "crashed"}})
    (tmp_path / "w.json").write_text(json.dumps({"steps": steps}), "utf-8")
    names = {survivor.name for survivor in mutation_test(load_cases(file)).survivors}
    assert "c fails where it crashes" in names
    assert "d fails where it crashes" not in names


async def test_a_case_runs_once_for_all_mutants_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = load_cases(write(tmp_path, "true", case(4, "a")))
    ran: list[Case] = []

    async def run(pool: Any, runner: Any, case: Case) -> Any:
        ran.append(case)
        return SimpleNamespace(results=[SimpleNamespace(path=())], mismatches=())

    monkeypatch.setattr(mutation, "_run", run)
    tester = mutation._MutantTester(cast(Pool, None), cases)
    for mutant in case_mutants_of(cases):
        await tester.test(mutant)
    assert ran == cases


@pytest.mark.slow
def test_cases_that_fail_without_a_mutant_end_the_test(tmp_path: Path) -> None:
    file = write(tmp_path, "true", case(4, "a"))
    done = call_worker("test", file, "--mutate")
    assert (done.returncode, "mutation score" in done.stdout) == (1, False)
    assert done.stdout.endswith("no mutant was tried: correct the cases that fail first\n")


def test_every_part_of_a_condition_is_changed(tmp_path: Path) -> None:
    write(tmp_path, "state.x === 'é' && state.n < 3")
    names = {mutant.name.partition(" ")[2] for mutant in mutants_of(load(tmp_path / "w.json"))}
    assert names == {
        "flipped",
        "dropped",
        "disabled",
        "always taken",
        "with state.x !== 'é' && state.n < 3",
        "with state.x === 'é~' && state.n < 3",
        "with state.x === 'é' || state.n < 3",
        "with state.x === 'é' && state.n <= 3",
        "with state.x === 'é' && state.n < 4",
    }
