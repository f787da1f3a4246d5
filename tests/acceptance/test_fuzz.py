"""A short turn of the fuzzer; ``make fuzz`` takes ten minutes, and checks itself too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fuzz(*arguments: str) -> str:
    """Run the fuzzer in a process of its own, as it limits the memory and sets timers."""
    command = [sys.executable, "-m", "tools.fuzz", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_nothing_that_comes_in_is_a_defect() -> None:
    table = fuzz("--seconds", "12", "--seed", "1")
    rows = [line.split() for line in table.splitlines()[1:]]
    assert len(rows) == 12 and all(int(row[1].replace(",", "")) >= 1 for row in rows)
