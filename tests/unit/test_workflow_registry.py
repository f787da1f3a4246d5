"""The workflows of a control plane: which files it reads, and by which names orders find them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ROOT
from worker.errors import UsageError
from worker.fleet.control import workflow_registry
from worker.fleet.control.workflow_registry import (
    RegisteredWorkflow,
    VersionCache,
    read_workflows,
)

JOB = {"id": "a", "expression": "fn(s => s)"}


def write(file: Path, **fields: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"steps": [JOB], **fields}))


def test_two_files_of_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    write(tmp_path / "a.json", name="nightly")
    write(tmp_path / "b.json", name="nightly", id="other")
    with pytest.raises(
        UsageError, match=r"two workflows are named 'nightly': .*a\.json and .*b\.json"
    ):
        read_workflows([tmp_path])


def test_a_name_of_its_own_comes_before_the_name_of_another_file(tmp_path: Path) -> None:
    write(tmp_path / "a.json", name="first", id="second")
    write(tmp_path / "b.json", name="second")
    registry = read_workflows([tmp_path])
    assert registry.workflows["second"].name == "second"


def test_files_without_a_name_are_known_by_their_files(tmp_path: Path) -> None:
    write(tmp_path / "a.json")
    write(tmp_path / "b.json", id="x")
    assert {"a", "b", "x"} <= set(read_workflows([tmp_path]).workflows)


def test_other_files_beside_workflows_are_no_problem(tmp_path: Path) -> None:
    write(tmp_path / "a.json", name="a")
    (tmp_path / "credentials.json").write_text('{"dhis2": {"user": "ada"}}')
    (tmp_path / "adaptors.lock.json").write_text("{}")
    (tmp_path / "broken.yaml").write_text("steps: [")
    registry = read_workflows([tmp_path])
    assert [problem.partition(":")[0] for problem in registry.problems] == [
        str(tmp_path / "broken.yaml")
    ]
    assert read_workflows([ROOT / "graphs"]).problems == []
    assert len(read_workflows([tmp_path / "credentials.json"]).problems) == 1


def test_a_checkout_gives_all_its_workflows(tmp_path: Path) -> None:
    (tmp_path / "openfn.yaml").write_text("project: {name: p}\n")
    write(tmp_path / "workflows" / "one" / "one.json", name="One")
    write(tmp_path / "workflows" / "two" / "two.json", name="Two")
    assert {"One", "one", "Two", "two"} <= set(read_workflows([tmp_path]).workflows)


def test_the_version_that_was_used_last_stays_in_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workflow_registry, "MAX_CACHED_VERSIONS", 2)
    cache, reads = VersionCache(), list[str]()

    def get(version: str) -> None:
        def read() -> RegisteredWorkflow:
            reads.append(version)
            return RegisteredWorkflow(name="w", plan_id=version, plan="{}")

        workflow = cache.get(("p", "w", version), read)
        assert workflow is not None and workflow.plan_id == version

    for version in ("1", "2", "1", "3", "1", "2"):
        get(version)
    assert reads == ["1", "2", "3", "2"]


def test_each_workflow_is_listed_once_with_its_other_names(tmp_path: Path) -> None:
    step = {"name": "A", "adaptor": "@openfn/language-common@3.3.4", "body": "fn(s => s)"}
    workflows = {
        key: {"name": name, "jobs": {"a": step}}
        for key, name in (("one", "First"), ("two", "Second"))
    }
    (tmp_path / "project.yaml").write_text(json.dumps({"name": "p", "workflows": workflows}))
    (tmp_path / "alone.json").write_text(json.dumps({"steps": [{"id": "a", "expression": "1"}]}))
    registry = read_workflows([tmp_path])
    assert registry.problems == []
    assert registry.other_names() == {"First": ["one"], "Second": ["two"], "workflow": ["alone"]}
