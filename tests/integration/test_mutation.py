"""``worker test --mutate``: survivors, their cases, the score, and mutants that change nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import call_worker
from worker import load
from worker.testing.mutants import mutants_of

JOB = {"adaptor": "common@1", "expression": "fn(s => s);"}


def write(folder: Path, condition: str, *cases: dict[str, Any]) -> Path:
    steps = [{"id": "a", **JOB, "next": {"b": {"condition": condition}}}, {"id": "b", **JOB}]
    workflow = {"workflow": {"name": "w", "steps": steps}}
    (folder / "w.json").write_text(json.dumps(workflow), "utf-8")
    file = folder / "w.cases.yaml"
    file.write_text(yaml.safe_dump({"workflow": "w.json", "cases": list(cases)}), "utf-8")
    return file


def case(age: int | None, *path: str) -> dict[str, Any]:
    returns: dict[str, Any] = {"data": {} if age is None else {"age": age}}
    steps = {"a": {"returns": returns}, "b": {}}
    return {"name": f"age {age}", "steps": steps, "expect": {"path": list(path)}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path / "cache"))


def test_survivors_are_listed_with_the_case_that_would_notice_them(tmp_path: Path) -> None:
    file = write(tmp_path, "state.data.age > 5", case(4, "a"), case(9, "a", "b"))
    killers = tmp_path / "killers.cases.yaml"
    done = call_worker("test", file, "--mutate", "--fail-under", "100", "--write-cases", killers)
    assert done.returncode == 1
    assert "✗ no case notices: a->b with state.data.age >= 5" in done.stdout
    assert "✗ no case notices: a->b with state.data.age > 6" in done.stdout
    assert "the mutants is less than 100 %" in done.stderr
    assert call_worker("test", killers).returncode == 0
    # The cases that were written, beside the old ones, notice everything.
    all_cases = tmp_path / "all.cases.yaml"
    contents = [yaml.safe_load(each.read_text("utf-8")) for each in (file, killers)]
    contents[0]["cases"] += contents[1]["cases"]
    all_cases.write_text(yaml.safe_dump(contents[0]), "utf-8")
    done = call_worker("test", all_cases, "--mutate", "--fail-under", "100")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_mutants_that_change_nothing_do_not_count(tmp_path: Path) -> None:
    file = write(tmp_path, "true || 1 == 2", case(4, "a", "b"))
    done = call_worker("test", file, "--mutate", "--fail-under", "100")
    assert done.returncode == 0, done.stdout
    assert "mutation score 100 %" in done.stdout and "change nothing" in done.stdout


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


def test_cases_that_fail_without_a_mutant_end_the_test(tmp_path: Path) -> None:
    file = write(tmp_path, "true", case(4, "a"))
    done = call_worker("test", file, "--mutate")
    assert (done.returncode, "mutation score" in done.stdout) == (1, False)


def test_every_part_of_a_condition_is_changed(tmp_path: Path) -> None:
    write(tmp_path, "state.x === 'é' && state.n < 3")
    names = {mutant.name.partition(" ")[2] for mutant in mutants_of(load(tmp_path / "w.json"))}
    assert names == {
        "flipped",
        "dropped",
        "always taken",
        "with state.x !== 'é' && state.n < 3",
        "with state.x === 'é~' && state.n < 3",
        "with state.x === 'é' || state.n < 3",
        "with state.x === 'é' && state.n <= 3",
        "with state.x === 'é' && state.n < 4",
    }
