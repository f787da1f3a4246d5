"""The wheel works on its own: nothing that a run needs is left behind in the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_workflow_runs_from_the_wheel_in_an_empty_environment() -> None:
    done = subprocess.run(
        [sys.executable, "tools/try_wheel.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "success" in done.stdout
