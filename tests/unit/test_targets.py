"""Files that a command writes: their folders are made, and what cannot be written is said first."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from worker.cli.main import main
from worker.util.whole_files import write_whole

WORKFLOW = {"workflow": {"name": "w", "steps": [{"id": "a", "expression": "fn(s => s)"}]}}
CASES = {
    "workflow": "w.json",
    "cases": [{"name": "scripted", "steps": {"a": {"returns": {}}}, "expect": {"path": ["a"]}}],
}


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.json").write_text(json.dumps(WORKFLOW))
    Path("w.cases.yaml").write_text(json.dumps(CASES))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["worker", *arguments])
    with pytest.raises(SystemExit) as exit:
        main()
    return exit.value.code


@pytest.mark.slow
def test_the_folders_of_results_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = {"--junit": "new/a.xml", "--coverage": "b/c.json", "--draw": "d/e.svg"}
    options = [word for pair in targets.items() for word in pair]
    assert call(monkeypatch, "test", "w.cases.yaml", *options) == 0
    assert all(Path(target).is_file() for target in targets.values())


@pytest.mark.parametrize("option", ["--junit", "--coverage", "--draw"])
@pytest.mark.parametrize(
    ("target", "code", "reason"), [(".", 2, "it is a folder"), ("a.svg", 71, "Permission denied")]
)
def test_what_cannot_be_written_is_an_error_before_a_case_runs(
    option: str,
    target: str,
    code: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The superuser may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert call(monkeypatch, "test", "w.cases.yaml", option, target) == code
    assert capsys.readouterr() == ("", f"error: cannot write {target}: {reason}\n")


def test_the_error_of_a_file_names_it_and_not_its_draft(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        write_whole(tmp_path / "none" / "file", b"")
    assert raised.value.filename == str(tmp_path / "none" / "file")
