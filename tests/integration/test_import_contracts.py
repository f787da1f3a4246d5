"""The import contracts: an import that they forbid is an error of `make check`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

ROOT = Path(__file__).parents[2]
NAMES = {
    "layers": "Imports point down the journey",
    "core": "The core decides and does not act",
    "sandbox-ends": "The ends of the sandbox do not import each other",
}


def slow(*values: str) -> ParameterSet:
    """Return a case for `make test-all`: each takes a second, and one of a kind is enough daily."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and of its contracts, to add imports to."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    without = shutil.ignore_patterns("__pycache__", "node_modules", "*.js", "*.json")
    shutil.copytree(ROOT / "worker", folder / "worker", ignore=without)
    return folder


def lint(folder: Path, *contracts: str) -> tuple[int, str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    chosen = [part for contract in contracts for part in ("--contract", contract)]
    done = subprocess.run(
        [*command, *chosen], cwd=folder, capture_output=True, text=True, timeout=100
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("contract", "file", "imported"),
    [
        ("layers", "workflow/load.py", "worker.core.plan"),
        slow("layers", "core/machine.py", "worker.cli.main"),
        slow("layers", "a_package_without_a_layer.py", "worker.errors"),
        ("core", "core/machine.py", "time"),
        slow("core", "core/driver.py", "worker.sinks.base"),
        ("sandbox-ends", "sandbox/child/host_bridge.py", "worker.sandbox.parent.host"),
        slow("sandbox-ends", "sandbox/parent/run_process.py", "worker.sandbox.child.sandboxed_run"),
        slow("sandbox-ends", "sandbox/python/steps.py", "worker.sandbox.parent.process_pool"),
        slow("sandbox-ends", "sandbox/protocol.py", "worker.sandbox.child.zygote"),
    ],
)
def test_a_forbidden_import_fails(copy: Path, contract: str, file: str, imported: str) -> None:
    path = copy / "worker" / file
    before = path.read_text("utf-8") if path.exists() else None
    path.write_text(f"{before or ''}\nimport {imported}\n", "utf-8")
    try:
        code, report = lint(copy, contract)
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before, "utf-8")
    assert code == 1, report
    assert f"{NAMES[contract]} BROKEN" in report or Path(file).stem in report, report


def test_the_package_keeps_the_contracts(copy: Path) -> None:
    code, report = lint(copy, *NAMES)
    assert code == 0 and all(f"{name} KEPT" in report for name in NAMES.values()), report
