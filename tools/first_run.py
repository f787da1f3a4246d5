"""Measurement of the time from a fresh clone to the first own workflow, by the README's blocks.

It runs what a new user would type, and nothing else: the block that installs, the file of the first
own workflow, and the commands that run it. The caches are empty, as on a new machine.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT_S = 60.0
_BLOCK = re.compile(r"<!-- (install|file|first) ?(\S*) -->\n```\w+\n(.*?)```", re.DOTALL)


def shell_script(readme: str) -> str:
    """Return the README's blocks, up to the first own workflow, as one script of bash."""
    lines = ["set -eu"]
    for kind, name, text in _BLOCK.findall(readme):
        if kind == "file":
            lines.append(f"cat > {name} <<'END OF FILE'\n{text}END OF FILE")
        else:
            lines += [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        if kind == "first":
            return "\n".join(lines) + "\n"
    raise SystemExit("README.md has no block that is marked <!-- first -->")


def measure(source: Path, folder: Path) -> float:
    """Clone the repository, follow its README, and return the seconds that it took."""
    began = time.monotonic()
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", str(source), str(clone)], check=True)
    script = shell_script((clone / "README.md").read_text("utf-8"))
    # As on a new machine: an engine that is ready already would take seconds off.
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    environment.pop("VIRTUAL_ENV", None)
    subprocess.run(["bash", "-c", script], cwd=clone, env=environment, check=True)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="SECONDS")
    limit_s = parser.parse_args().limit
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(ROOT, Path(folder))
    print(f"{seconds:.1f} s from a fresh clone to the first own workflow (limit {limit_s:g} s)")
    sys.exit(seconds > limit_s)


if __name__ == "__main__":
    main()
