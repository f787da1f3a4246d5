"""Prints each figure with what it is compared to; nothing here decides a test.

`python -m bench` prints all; `python -m bench PART...` some.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from importlib import import_module

from bench.caches import own_cache

PARTS = {
    "runners": "isolated runs a second, latency, limits, memory",
    "confinement": "what confinement and masking add to a run",
    "bombs": "compression bombs, beside another run",
    "engine": "instances, restoring, JavaScript against other engines",
    "graphs": "chains and stars of 5,000 and 100,000 steps",
    "cases": "scripted cases a second",
    "commands": "run, explore, lint",
    "recordings": "what recording adds to a run",
    "replays": "real adaptors, replays a second",
    "cluster": "replays on a cluster",
    "locales": "agreement with Node, cost of locale data",
    "proofs": "fuzzing, mutants, diffs, fuel",
    "fleet": "latency, rate, losses and memory of a fleet",
    "planes": "one, two and three control planes on PostgreSQL",
    "backlog": "1,000,000 ended and 100,000 queued orders",
    "triggers": "messages and webhooks to orders",
    "traffic": "statements, messages and bytes of a run",
    "lightning": "a worker of Lightning",
}
"""Each module of this folder that prints rows, and what they are about."""


def main() -> None:
    """Print the rows of the parts that are named, or of all."""
    listed = "\n".join(f"  {name:<12} {about}" for name, about in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Print figures of this machine.",
        epilog=f"parts:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", nargs="*", help="default: all")
    parts = parser.parse_args().part
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; see --help")
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}\n",
        flush=True,
    )
    # Runs use an adaptor that the user has installed, which changes their processes and times.
    with own_cache():
        subprocess.run([sys.executable, "-m", "worker", "engine", "prepare"], check=True)
        for part in parts or PARTS:
            import_module(f"bench.{part}").main()


if __name__ == "__main__":
    main()
