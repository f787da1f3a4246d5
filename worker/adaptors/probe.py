"""Loads a bundle into an engine, in a process of its own, and prints what it exports, as JSON."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from worker.sandbox.javascript.engine import Engine

MEMORY = 2 * 1024**3
SECONDS = 60


def main() -> None:
    """The bundle's file is the argument."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    engine = Engine({"probe": Path(sys.argv[1]).read_text("utf-8")})
    print(json.dumps(engine.exports("probe")))


if __name__ == "__main__":
    main()
