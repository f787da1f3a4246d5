"""Probe for bundles: loads one into an engine and prints its exports, in a process of its own."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from worker.sandbox.confinement import system
from worker.sandbox.confinement.call_rules import Profile
from worker.sandbox.confinement.process import Confinement
from worker.sandbox.javascript.engine import load_realm

MAX_CPU_S = 60


def main() -> None:
    """Probe the bundle whose path is the argument."""
    # A bundle is code of strangers that loads before the realm is closed: limit what it can use.
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    bundle = Path(sys.argv[1]).read_text("utf-8")
    # Once without it: what the engine reads from files is in memory then.
    load_realm({})
    confine()
    realm = load_realm({"probe": bundle})
    print(realm.call("call_api", "exports", "probe"))


def confine() -> None:
    """Forbid this process all that runs of JavaScript may not do."""
    if sys.platform == "linux":
        system.forbid_privileges()
    Confinement().confine(Profile.JAVASCRIPT)


if __name__ == "__main__":
    main()
