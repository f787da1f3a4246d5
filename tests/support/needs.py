"""Needs of tests beside Python packages: each is a marker, and a test without it is skipped."""

from __future__ import annotations

import shutil

from tests.support.databases import postgres_binaries

_PATH = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"


def missing() -> dict[str, str]:
    """Return the markers whose need this machine does not meet, each with the way to meet it."""
    node = shutil.which("node") and shutil.which("npm")
    needs = {
        "broker": (shutil.which("mosquitto", path=_PATH), "apt-get install mosquitto"),
        "database": (postgres_binaries(), "apt-get install postgresql"),
        "browser": (shutil.which("chromium"), "apt-get install chromium"),
        "npm": (node, "apt-get install nodejs npm"),
    }
    return {marker: f"needs {how}" for marker, (present, how) in needs.items() if not present}
