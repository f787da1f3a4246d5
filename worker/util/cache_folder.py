"""The user's folder of files that can be made again: adaptors, compiled jobs, the engine."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path


def root() -> Path:
    """Return the user's cache folder; the variable ``WORKER_CACHE`` overrides it."""
    return _root(os.environ.get("WORKER_CACHE"), os.environ.get("XDG_CACHE_HOME"))


# Cached by the variables that it depends on, as tests and callers may change these.
@functools.cache
def _root(override: str | None, base: str | None) -> Path:
    if override:
        return Path(override)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "workflow-worker"
    return (Path(base) if base else Path.home() / ".cache") / "workflow-worker"
