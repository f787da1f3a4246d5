"""Maker of the image of a realm with bundles: it loads them in a confined process of its own.

Its argument is the user's cache folder, its input a JSON object ``{bundles, libraries}``, and its
output the image. Where a bundle does not load, the output is the reason, and the exit code
``EXIT_UNLOADED``.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from worker.engine.failures import EngineFault, ScriptError
from worker.engine.shared import runtime
from worker.sandbox.confinement import system
from worker.sandbox.confinement.call_rules import Profile
from worker.sandbox.confinement.process import Confinement
from worker.sandbox.javascript.engine import load_realm, read_sources
from worker.sandbox.protocol import EXIT_UNLOADED, MAX_LOAD_CPU_S


def main() -> None:
    """Write the image of the realm that the input describes."""
    os.environ["WORKER_CACHE"] = sys.argv[1]
    contents = json.load(sys.stdin)
    # Before it is confined: all that the engine reads from files.
    runtime()
    read_sources(contents["libraries"])
    confine()
    code = 0
    try:
        output = load_realm(contents["bundles"], contents["libraries"]).image_bytes()
    except (ScriptError, EngineFault) as error:
        output, code = str(error).encode("utf-8", "replace"), EXIT_UNLOADED
    sys.stdout.buffer.write(output)
    sys.stdout.flush()
    # The interpreter's end makes calls that are forbidden by now.
    os._exit(code)


def confine() -> None:
    """Forbid this process all that runs of JavaScript may not do, and more than a little time."""
    if sys.platform == "linux":
        system.die_with_parent(signal.SIGKILL)
        system.forbid_privileges()
    Confinement().confine(Profile.JAVASCRIPT)
    # The default action of SIGPROF ends the process. A Python handler would not run while the
    # engine is inside a bundle.
    signal.setitimer(signal.ITIMER_PROF, MAX_LOAD_CPU_S)


if __name__ == "__main__":
    main()
