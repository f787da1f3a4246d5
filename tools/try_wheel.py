"""Build the wheel, and run a workflow from it in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def build(folder: Path) -> Path:
    """Build sdist and wheel into a folder. Return the wheel's path."""
    for old in folder.glob("workflow_worker-*"):
        old.unlink()
    command = [sys.executable, "-m", "build", "--outdir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    return wheel


def try_wheel(wheel: Path) -> None:
    """Install a wheel into an empty environment, and run a workflow from there."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        venv.create(environment, with_pip=True)
        python = environment / "bin/python"
        install = [str(python), "-m", "pip", "install", "--quiet", str(wheel)]
        subprocess.run(install, check=True, cwd=folder)
        run = [str(environment / "bin/worker"), "run", str(ROOT / "graphs/referral.yaml")]
        arguments = ["--input", str(ROOT / "graphs/referral.input.json")]
        subprocess.run([*run, *arguments], check=True, cwd=folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as built:
        try_wheel(build(Path(built)))
