"""Files that the command has written, and that somebody has damaged: an error that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker.adaptors import cache, lock
from worker.cli.main import cli
from worker.cli.workflow_files import find_workflow_files
from worker.errors import WorkerError
from worker.fleet.control.policy import read_policy
from worker.testing import coverage
from worker.testing.mutation import KilledBefore

CONTENTS = {
    "deep": b'{"adaptors":' + b"[" * 100_000,
    "deep and whole": b'{"workflows":' + b"[" * 300 + b"]" * 300 + b"}",
    "not UTF-8": b'{"adaptors": "\xff"}',
    "an infinite number": b'{"workflows": [{"workflow": "a", "rules": {"x": 1e999}}]}',
    "half a character": b'{"\\ud800": {}, "projects": {"\\ud800": {}}}',
    "other types": b'{"adaptors": {"common": {"version": [1], "integrity": null}}}',
    "a list": b"[1]",
    "nothing": b"",
}
READERS: dict[str, Callable[[Path], Any]] = {
    lock.NAME: lambda file: lock.read(file.parent),
    "adaptor.json": cache._read_manifest,
    "coverage.json": coverage._load,
    "policy.json": read_policy,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_bytes(CONTENTS[content])
    with pytest.raises(WorkerError, match=name):
        READERS[name](file)


@pytest.mark.parametrize("content", CONTENTS)
def test_damaged_results_of_earlier_mutants_are_forgotten(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mutants.json"
    file.write_bytes(CONTENTS[content])
    assert not KilledBefore(file, [])._killed


@pytest.mark.parametrize(
    ("content", "is_workflow"),
    [
        ('{"workflow": {"steps": [', True),
        ('{\n  "jobs": [{"id": "a",},]\n}', True),
        ("steps:\n  - id: 'a\n", True),
        ("name: x\njobs: {a: }}\n", True),
        ('{"workflow": "service_provision", "name": "Aicha",}', False),
        ('{\n  "type": "case",\n  "workflow": "service_provision",\n  "a": [1,],\n}', False),
        ("workflow: intake\nrows: [1\n", False),
    ],
)
def test_a_broken_file_of_a_folder_counts_if_it_can_be_a_workflow(
    tmp_path: Path, content: str, is_workflow: bool
) -> None:
    (tmp_path / "good.yaml").write_text("steps: [{id: a, adaptor: common, expression: fn(s => s)}]")
    file = tmp_path / ("broken.json" if content.startswith("{") else "broken.yaml")
    file.write_text(content)
    assert (file in find_workflow_files([tmp_path])) is is_workflow


@pytest.mark.parametrize("command", ["lint", "validate"])
def test_a_file_that_is_no_text_does_not_hide_what_the_others_have(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "binary.yaml").write_bytes(bytes(range(128, 256)))
    (tmp_path / "good.yaml").write_text("steps: [{id: a, adaptor: common, expression: fn(s => s)}]")
    done = CliRunner().invoke(cli, [command, str(tmp_path)])
    assert "binary.yaml:1:1: not UTF-8 text" in done.stderr
    assert {"lint": "good.yaml:1:", "validate": "1 step, could run"}[command] in done.stdout
    assert done.exit_code == 2
