"""The import contracts of the sandbox: an import across its ends is an error of `make check`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = pytest.mark.slow
CONTRACT = "The ends of the sandbox do not import each other"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and of its contracts, to add imports to."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    without = shutil.ignore_patterns("__pycache__", "node_modules", "*.js", "*.json")
    shutil.copytree(ROOT / "worker", folder / "worker", ignore=without)
    return folder


def lint(folder: Path) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--contract"]
    done = subprocess.run(
        [*command, "sandbox-ends"], cwd=folder, capture_output=True, text=True, timeout=100
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("file", "imported"),
    [
        ("child/host_bridge.py", "worker.sandbox.parent.host"),
        pytest.param("parent/run_process.py", "worker.sandbox.child.sandboxed_run", marks=SLOW),
        pytest.param("python/steps.py", "worker.sandbox.parent.process_pool", marks=SLOW),
        pytest.param("protocol.py", "worker.sandbox.child.zygote", marks=SLOW),
    ],
)
def test_an_import_across_the_ends_of_the_sandbox_fails(
    copy: Path, file: str, imported: str
) -> None:
    path = copy / "worker" / "sandbox" / file
    text = path.read_text("utf-8")
    path.write_text(f"{text}\nimport {imported}\n", "utf-8")
    try:
        code, report = lint(copy)
    finally:
        path.write_text(text, "utf-8")
    assert code == 1 and f"{CONTRACT} BROKEN" in report, report


def test_the_package_keeps_the_contract(copy: Path) -> None:
    code, report = lint(copy)
    assert code == 0 and f"{CONTRACT} KEPT" in report, report
