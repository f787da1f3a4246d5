"""``worker diff`` from files, revisions and recordings."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import ROOT, call_worker
from worker import load
from worker.cli.diff_recordings import RecordedDiff
from worker.cli.replay import ReplayReport
from worker.comparison.versions import diff_versions
from worker.testing.mutants import mutants_of

JOB = {"adaptor": "common@1", "expression": "fn(s => s);"}


def plan(condition: str, **extra: Any) -> dict[str, Any]:
    steps = [{"id": "a", **JOB, "next": {"b": {"condition": condition}}}, {"id": "b", **JOB}]
    return {"workflow": {"name": "w", "steps": steps}, **extra}


def write(folder: Path, name: str, content: dict[str, Any]) -> Path:
    file = folder / name
    file.write_text(json.dumps(content), "utf-8")
    return file


def test_conditions_are_compared_on_states_that_decide_them(tmp_path: Path) -> None:
    old = write(tmp_path, "old.json", plan("state.data.age > 5"))
    new = write(tmp_path, "new.json", plan("state.data.age >= 5"))
    done = call_worker("diff", old, new, "--json")
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    scenario, after_failure = [line for line in lines if line["type"] == "scenario"]
    assert after_failure["when"].startswith("when a fails")
    assert scenario["choices"][-1]["state"]["data"]["age"] == 5
    assert (scenario["old"]["path"], scenario["new"]["path"]) == (["a"], ["a", "b"])
    assert lines[-1]["differs"] and lines[-1]["complete"]


def test_the_same_workflow_in_other_words_does_not_differ(tmp_path: Path) -> None:
    old = write(tmp_path, "old.json", plan("state.data.age > 5"))
    new = tmp_path / "new.yaml"
    new.write_text(yaml.safe_dump(plan("(state.data.age) > 5 /* years */")), "utf-8")
    done = call_worker("diff", old, new)
    assert (done.returncode, done.stdout.startswith("no difference in ")) == (1, False)
    new.write_text(yaml.safe_dump(plan("state.data.age>5 /* years */")), "utf-8")
    done = call_worker("diff", old, new)
    assert (done.returncode, done.stdout.startswith("no difference in ")) == (0, True), done


@pytest.mark.slow
@pytest.mark.parametrize("sample", ["referral", "cron-sync"])
def test_every_mutant_of_a_sample_differs(sample: str) -> None:
    (file,) = (
        f for f in (ROOT / "graphs").glob(f"{sample}.*") if f.suffixes in ([".yaml"], [".json"])
    )
    workflow = load(file)
    assert not diff_versions(workflow, workflow).differs
    assert [
        mutant.name
        for mutant in mutants_of(workflow)
        if not diff_versions(workflow, mutant.workflow).comparison.scenarios
    ] == []


def test_a_revision_is_read_with_the_files_that_it_names(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=n", "-c", "user.email=n@example.org")
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git("init", "-q")
    (tmp_path / "job.js").write_text("fn(s => s)", "utf-8")
    steps = [{"id": "a", "adaptor": "common@1", "expression": "./job.js"}]
    write(tmp_path, "w.json", {"workflow": {"steps": steps}})
    below = tmp_path / "flows"
    below.mkdir()
    write(below, "w.json", {"workflow": {"steps": steps}})
    (below / "job.js").write_text("fn(s => s)", "utf-8")
    git("add", ".")
    git("commit", "-qm", "first")
    assert call_worker("diff", "HEAD:w.json", "w.json", cwd=tmp_path).returncode == 0
    done = call_worker("diff", "HEAD:flows/w.json", "flows/w.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # As the shell completes it, and as git reads it.
    for source in ("HEAD:w.json", "HEAD:flows/w.json", "HEAD:../flows/w.json"):
        done = call_worker("diff", source, "w.json", cwd=below)
        assert done.returncode == 0, done.stderr
    (tmp_path / "job.js").write_text("fn(s => ({...s, x: 1}))", "utf-8")
    done = call_worker("diff", "HEAD:w.json", "w.json", cwd=tmp_path)
    assert (done.returncode, "changed code a" in done.stdout) == (1, True)
    for source, message in [("HEAD:no.json", "no file no.json"), ("none:w.json", "git: ")]:
        done = call_worker("diff", source, "w.json", cwd=tmp_path)
        assert (done.returncode, message in done.stderr) == (2, True), done


@pytest.mark.slow
def test_scenarios_become_cases_that_the_new_version_passes(tmp_path: Path) -> None:
    old = write(tmp_path, "old.json", plan("state.data.age > 5"))
    new = write(tmp_path, "new.json", plan("state.data.age >= 5"))
    cases, page = tmp_path / "w.cases.yaml", tmp_path / "w.html"
    assert call_worker("diff", old, new, "--write-cases", cases, "--html", page).returncode == 1
    assert call_worker("test", cases).returncode == 0
    assert page.read_text("utf-8").count("<svg") == 2
    content = yaml.safe_load(cases.read_text("utf-8")) | {"workflow": "old.json"}
    cases.write_text(yaml.safe_dump(content), "utf-8")
    assert call_worker("test", cases).returncode == 1


@pytest.mark.slow
def test_recorded_runs_are_replayed_with_the_new_version(tmp_path: Path) -> None:
    old = write(tmp_path, "old.json", plan("state.data.age > 5"))
    new = write(tmp_path, "new.json", plan("state.data.age >= 5"))
    (tmp_path / "runs").mkdir()
    for age in (4, 5, 6):
        state = write(tmp_path, "input.json", {"data": {"age": age}})
        record = tmp_path / "runs" / f"{age}.jsonl"
        assert call_worker("run", old, "-i", state, "--record", record).returncode == 0
    done = call_worker("diff", old, new, "--recordings", tmp_path / "runs")
    assert done.returncode == 1
    assert "1 of 3 recorded runs would end otherwise" in done.stdout
    for file in (tmp_path / "runs").iterdir():
        header, *lines = file.read_text("utf-8").splitlines()
        newer = json.dumps({**json.loads(header), "format": 99})
        file.write_text("\n".join([newer, *lines]), "utf-8")
    done = call_worker("diff", old, old, "--recordings", tmp_path / "runs")
    assert done.returncode == 1, "nothing is proved"
    assert "0 of 0 recorded runs would end otherwise" in done.stdout
    assert "3 recordings cannot be replayed, such as " in done.stdout


def test_markdown_does_not_carry_markup_of_strangers(tmp_path: Path) -> None:
    old = write(tmp_path, "old.json", plan("state.x"))
    new = write(tmp_path, "new.json", plan("state.x == '<img src=x>|@all`'"))
    done = call_worker("diff", old, new, "--format", "markdown")
    assert done.returncode == 1
    assert "\\<img src=x\\>\\|`@`all\\`" in done.stdout


@pytest.mark.parametrize("kind", ["state", "unreadable"])
def test_markdown_of_recordings_does_not_either(kind: str) -> None:
    recorded = RecordedDiff()
    recorded.add(ReplayReport(kind, ["✗ <img src=x>` @all\n# title"]))
    text = "\n".join(recorded.lines("markdown"))
    assert "\\<img src=x\\>\\` `@`all" in text and "\n#" not in text


def test_a_version_that_cannot_run_is_a_usage_error(tmp_path: Path) -> None:
    good = write(tmp_path, "old.json", plan("true"))
    bad = write(tmp_path, "new.json", {"workflow": {"steps": [{"id": "a", "next": "b"}]}})
    done = call_worker("diff", good, bad)
    assert (done.returncode, "NEW cannot run" in done.stderr) == (2, True), done
