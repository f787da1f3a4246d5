"""The test run itself: its groups are honoured, and its files stay small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
GROUPED = """
import pytest

@pytest.mark.parametrize("number", range(6))
@pytest.mark.xdist_group("together")
def test_it(number, record_property):
    pass
"""


@pytest.mark.slow
def test_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    # A session fixture of a group is built once only if xdist reads the marks of this pytest.
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    options = ["-v", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if "PASSED" in line]
    assert len(lines) == 6
    assert all("@together" in line for line in lines)
    assert len({line.split("]")[0] for line in lines}) == 1


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.name)
def test_no_test_file_is_longer_than_600_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600
