"""A short turn of the fuzzer, and its self-check; ``make fuzz`` takes ten minutes."""

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
    assert len(rows) == 12 and all(int(row[1].replace(",", "")) > 1 for row in rows)


@pytest.mark.slow
def test_faults_are_found_again_once_their_mends_are_taken_out() -> None:
    lines = fuzz("--self-check", "--seconds", "240", "--seed", "1").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["A1", "B5", "B8", "C8"]
