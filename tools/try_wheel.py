"""Build the wheel, and run a workflow from it in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def uv(*arguments: str) -> None:
    """Run uv, which builds and installs in a fraction of pip's time."""
    subprocess.run([sys.executable, "-m", "uv", *arguments], check=True)


def build(folder: Path) -> Path:
    """Build sdist and wheel into a folder. Return the wheel's path."""
    for old in folder.glob("workflow_worker-*"):
        old.unlink()
    uv("build", "--quiet", "--out-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def try_wheel(wheel: Path) -> None:
    """Install a wheel into an empty environment, and run a workflow from there."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        uv("venv", "--quiet", "--python", sys.executable, str(environment))
        python = environment / "bin/python"
        uv("pip", "install", "--quiet", "--python", str(python), str(wheel))
        run = [str(environment / "bin/worker"), "run", str(ROOT / "graphs/referral.yaml")]
        arguments = ["--input", str(ROOT / "graphs/referral.input.json")]
        subprocess.run([*run, *arguments], check=True, cwd=folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as built:
        try_wheel(build(Path(built)))
