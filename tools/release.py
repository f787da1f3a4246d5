"""Check and build a release: ``python -m tools.release 0.2.0``.

Checks that the tree is clean, that the version and the changelog agree with the argument, that its
conversation is recorded for later versions, and that everything is green. Then builds the wheel and
the sdist, runs a workflow from the wheel in an empty environment, and creates the tag.
"""

from __future__ import annotations

import re
import subprocess
import sys

from tools.try_wheel import ROOT, build, try_wheel


def main(version: str) -> None:
    """Release this version, or exit with what is missing."""
    require(not output("git", "status", "--porcelain"), "commit or remove what is not committed")
    source = (ROOT / "worker/version.py").read_text()
    require(f'VERSION = "{version}"' in source, f"set VERSION to {version} in worker/version.py")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    require(
        re.search(heading, changelog, re.MULTILINE), f"add '## [{version}] - DATE' to CHANGELOG.md"
    )
    conversation = f"tests/data/conversations/{version}.jsonl.gz"
    require((ROOT / conversation).exists(), f"python -m tools.record_conversation {conversation}")
    require(not output("git", "tag", "--list", f"v{version}"), f"the tag v{version} exists already")
    subprocess.run(["make", "check"], cwd=ROOT, check=True)
    wheel = build(ROOT / "dist")
    try_wheel(wheel)
    subprocess.run(["git", "tag", "-a", f"v{version}", "-m", version], cwd=ROOT, check=True)
    print(f"v{version} is built in dist/ and tagged")


def require(condition: object, action: str) -> None:
    """Exit with the action that is needed where a condition does not hold."""
    if not condition:
        sys.exit(f"release: {action}")


def output(*command: str) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
