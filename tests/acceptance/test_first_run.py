"""The README leads to a first own workflow; ``make first-run`` measures it from a fresh clone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.first_run import ROOT, shell_script


@pytest.mark.slow
def test_the_readme_leads_to_the_first_own_workflow(tmp_path: Path) -> None:
    script = shell_script((ROOT / "README.md").read_text("utf-8"))
    installs = ("python3 -m venv", "source ", "pip install")
    lines = script.splitlines()
    assert [sum(line.startswith(start) for line in lines) for start in installs] == [1, 1, 1]
    # What is installed here already.
    rest = "\n".join(line for line in lines if not line.startswith(installs))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", rest], cwd=tmp_path, env={**os.environ, "PATH": path},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"patients": 3' in done.stdout
    assert "path: read ✓ → count ✓" in done.stderr
