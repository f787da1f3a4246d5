"""A copy of the tree with an environment of its own, in which a module can be changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLOWEST = 5.0
"""Times of the unchanged module's tests, after which a mutant counts as a hang."""
LEAST_S = 20.0


class CopiedTree:
    """A copy of all files that git knows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self._python = self._environment()

    def _environment(self) -> Path:
        """Create an environment that has this one's packages, and the copy before all."""
        venv = self._folder / ".venv"
        command = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
        subprocess.run(command, check=True)
        packages = next((venv / "lib").iterdir()) / "site-packages"
        own = sysconfig.get_path("purelib")
        # The processes of runs have no environment variables, but a .pth file holds for them too.
        (packages / "copied_tree.pth").write_text(
            f"{self._folder}\nimport site; site.addsitedir({own!r})\n"
        )
        return venv / "bin/python"

    def path(self, module: str) -> Path:
        return self._folder / "worker" / f"{module}.py"

    def write(self, module: str, source: str) -> None:
        self.path(module).write_text(source, "utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy."""
        command = [str(self._python), "-B", *arguments]
        return subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )

    def test(self, tests: Sequence[str], limit_s: float | None = None) -> tuple[bool, float]:
        """Run tests; return whether all pass within a time, and the seconds that they took."""
        command = [
            str(self._python), "-B", "-m", "pytest", "-x", "-q", "-n", "0", "-m", "not slow",
            "-p", "no:cacheprovider", "--no-header", *tests,
        ]  # fmt: skip
        began = time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=self._folder, capture_output=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired:
            return False, time.monotonic() - began
        return done.returncode == 0, time.monotonic() - began
