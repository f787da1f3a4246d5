"""A copy of the tree with an environment of its own, in which a module can be changed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from subprocess import DEVNULL, PIPE

ROOT = Path(__file__).parents[2]


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

    def compile(self) -> None:
        """Compile all modules, so that only a changed one is compiled again."""
        # By their hashes: a change within a second that keeps the size would not be noticed.
        mode = ("--invalidation-mode", "checked-hash")
        self.run("-m", "compileall", "-q", "-j", "2", *mode, "worker", "tests", "tools")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy."""
        command = [str(self._python), "-B", *arguments]
        return subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False
        )

    def forks(self) -> subprocess.Popen[str]:
        """Start the process that runs tests in forks of itself."""
        command = [str(self._python), "-m", "tools.mutants.forks", str(self._folder / "reply")]
        return subprocess.Popen(
            command, cwd=self._folder, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True
        )
