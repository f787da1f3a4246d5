"""The pytest plugin, which pytest loads in every project that has the package installed.

The public names of ``worker.testing`` are tested with those of ``worker`` (test_api.py).
"""

from __future__ import annotations

import subprocess
import sys

from worker.testing import case, pytest_plugin


def test_the_plugin_loads_nothing_of_the_worker_until_it_needs_it() -> None:
    assert pytest_plugin.SUFFIXES == case.SUFFIXES
    script = "import sys, worker.testing.pytest_plugin as p; print(*[m for m in sys.modules if m.startswith('worker.')])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50
    )
    assert set(done.stdout.split()) <= {
        "worker.util",
        "worker.util.lazy_exports",
        "worker.version",
        "worker.testing",
        "worker.testing.pytest_plugin",
    }
