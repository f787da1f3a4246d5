"""Options of the openfn command: cached steps, missing adaptors, objects in log lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.command import call_worker
from worker.adaptors.missing import check_allowed
from worker.adaptors.names import parse
from worker.cli import autoinstall
from worker.cli.step_cache import cache_folder, cached_input
from worker.errors import UsageError

COMMON = "@openfn/language-common@3.3.4"


def step(id: str, source: str, **keys: Any) -> dict[str, Any]:
    return {"id": id, "adaptor": COMMON, "expression": source, **keys}


STEPS = [
    step("get", "fn(s => { console.log('got', {name: 'Ann'}); return {n: 1} })", next="add"),
    step("add", "fn(s => ({n: s.n + 1}))"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "w.json").write_text(json.dumps({"name": "my work", "steps": STEPS}))
    return tmp_path


@pytest.mark.slow
def test_a_run_continues_from_cached_steps(folder: Path) -> None:
    alone = call_worker("run", "w.json", "--cache-steps", "--start-at", "add", cwd=folder)
    assert alone.returncode == 2
    assert "has no output of 'get', which is the input of 'add'" in alone.stderr
    assert call_worker("run", "w.json", "--cache-steps", cwd=folder).returncode == 0
    cached = folder / ".cli-cache" / "my work"
    assert json.loads((cached / "get.json").read_text()) == {"n": 1}
    (cached / "get.json").write_text('{"n": 41}')
    again = call_worker("run", "w.json", "--cache-steps", "--start-at", "add", "-O", cwd=folder)
    assert json.loads(again.stdout) == {"n": 42}
    given = ("--input", ".cli-cache/my work/add.json")
    given_input = call_worker(
        "run", "w.json", "--cache-steps", "--only", "add", *given, "-O", cwd=folder
    )
    assert json.loads(given_input.stdout) == {"n": 43}


@pytest.mark.slow
def test_the_input_stands_on_the_command_line(folder: Path) -> None:
    (folder / "job.js").write_text("fn(s => ({ n: s.data.n + 1 }));")
    job = ("run", "job.js", "-a", "common", "-O")
    done = call_worker(*job, "-S", '{"data": {"n": 4}}', cwd=folder)
    assert json.loads(done.stdout) == {"n": 5}
    alone = call_worker(
        "run", "w.json", "--only", "add", "-S", '{"n": 1}', "--cache-steps", "-O", cwd=folder
    )
    assert json.loads(alone.stdout) == {"n": 2}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-S", '{"data":'], "--input-json:1:9: not JSON"),
        (["-S", "[]"], "--input-json: expected a JSON object"),
        (["-S", "{}", "-i", "-"], "--input and --input-json both give the input"),
    ],
)
def test_a_wrong_input_on_the_command_line_is_refused(
    folder: Path, arguments: list[str], problem: str
) -> None:
    done = call_worker("run", "w.json", *arguments, cwd=folder)
    assert done.returncode == 2 and problem in done.stderr


def test_the_cache_does_not_lead_out_of_its_folder() -> None:
    workflow = worker.load({"name": "../../evil/..", "steps": STEPS})
    assert cache_folder(workflow).parts[:-1] == (".cli-cache",)
    with pytest.raises(UsageError, match="run all with --cache-steps first"):
        cached_input(workflow, "get")


def test_a_link_in_the_place_of_the_cache_is_refused(folder: Path) -> None:
    (folder / "work").mkdir()
    (folder / "work" / ".cli-cache").symlink_to(folder)
    done = call_worker("run", "../w.json", "--cache-steps", cwd=folder / "work")
    assert done.returncode == 2 and "leads out of this folder: remove the link" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "shown"),
    [("none", "got { name: 'Ann' }"), ("remove", "got "), ("obfuscate", "got [object]")],
)
def test_objects_in_log_lines_are_hidden(folder: Path, policy: str, shown: str) -> None:
    options = ("--sanitize", policy, "--journal", "run.jsonl")
    done = call_worker("run", "w.json", *options, cwd=folder)
    assert f"[JOB] {shown}\n" in done.stdout
    assert ("Ann" in (folder / "run.jsonl").read_text()) is (policy == "none")


# --- adaptors -------------------------------------------------------------------------------------


def with_adaptors(*names: str) -> worker.Workflow:
    steps = [{"id": f"s{i}", "adaptor": name, "expression": "x"} for i, name in enumerate(names)]
    return worker.load({"steps": steps})


def test_only_missing_adaptors_of_openfn_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        autoinstall, "install", lambda wanted, folder, progress: asked.extend(map(str, wanted))
    )
    names = ("nowhere@1.0.0", COMMON, "@mine/thing@2.0.0")
    with pytest.raises(UsageError, match="--allow-adaptor @mine/thing allows this one too"):
        autoinstall.install_missing(with_adaptors(*names), ())
    assert asked == []
    autoinstall.install_missing(with_adaptors(*names), ["@mine/thing"])
    assert asked == ["@mine/thing@2.0.0", "@openfn/language-nowhere@1.0.0"]
    autoinstall.install_missing(with_adaptors(COMMON), ())
    assert len(asked) == 2


@pytest.mark.parametrize("name", ["@openfnx/language-http@1.0.0", "@a/b@1.0.0"])
def test_a_name_beside_the_scope_is_not_of_it(name: str) -> None:
    with pytest.raises(UsageError, match="--autoinstall installs adaptors of @openfn/ alone"):
        check_allowed([parse(name)], ["@a/bc", "b"])


def test_a_folder_cannot_set_what_is_installed(folder: Path) -> None:
    (folder / "worker.toml").write_text("[run]\nautoinstall = true\n")
    done = call_worker("run", "w.json", cwd=folder)
    assert done.returncode == 2 and "'autoinstall' is not read from files" in done.stderr
