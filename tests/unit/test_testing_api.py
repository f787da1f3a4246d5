"""The pytest plugin, which pytest loads in every project that has the package installed.

The public names of ``worker.testing`` are tested with those of ``worker`` (test_api.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pytest_workflow_worker
from worker.testing import case

CASES = """
workflow: workflow.yaml
cases:
  - name: runs
    expect: {status: success}
"""
WORKFLOW = "workflow: {name: w, steps: [{id: a, adaptor: common, expression: 'fn(s => s)'}]}"


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # `-m pytest` puts the folder on the path, which is how a module of a project hides the package.
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=100)


def test_the_plugin_knows_the_suffixes_of_case_files() -> None:
    assert pytest_workflow_worker.SUFFIXES == case.SUFFIXES


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["worker.py", "worker/__init__.py", "tests/worker.py"])
def test_a_project_with_its_own_module_worker_is_tested(layout: str, tmp_path: Path) -> None:
    module = tmp_path / layout
    module.parent.mkdir(exist_ok=True)
    module.write_text("def task():\n    return 1\n")
    tests = tmp_path / "tests"
    tests.mkdir(exist_ok=True)
    (tests / "test_x.py").write_text(
        "from worker import task\ndef test_x():\n    assert task() == 1\n"
    )
    (tests / "a.cases.yaml").write_text(CASES)
    done = run_pytest(tmp_path)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
    if not layout.startswith("tests"):
        assert "this project has its own module 'worker'" in done.stdout


@pytest.mark.slow
def test_the_fixture_names_the_reason_in_such_a_project(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("")
    (tmp_path / "test_x.py").write_text("def test_x(workflow):\n    pass\n")
    done = run_pytest(tmp_path)
    assert done.returncode == 1 and "has its own module 'worker'" in done.stdout


@pytest.mark.slow
def test_other_projects_have_case_files_and_pay_nothing_without_them(tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text(WORKFLOW)
    (tmp_path / "a.cases.yaml").write_text(CASES)
    (tmp_path / "test_x.py").write_text(
        "import sys\ndef test_x():\n    assert not {'worker.errors', 'worker.runner', 'worker.workflow'} & {*sys.modules}\n"
    )
    assert "1 passed" in run_pytest(tmp_path, "test_x.py").stdout
    assert "1 passed" in run_pytest(tmp_path, "a.cases.yaml").stdout
