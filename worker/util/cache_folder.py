"""The user's folder of files that can be made again: adaptors, compiled jobs, the engine."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def root() -> Path:
    """Return the user's cache folder; the variable ``WORKER_CACHE`` overrides it."""
    # Imported late: the first child process of a command starts without it.
    from pathlib import Path

    return Path(root_path())


def root_path() -> str:
    """Return the same as text.

    Raises :class:`RuntimeError` for a user without a home folder, where it would be in that.
    """
    if override := os.environ.get("WORKER_CACHE"):
        return override
    if sys.platform == "darwin":
        return f"{_home()}/Library/Caches/workflow-worker"
    return f"{os.environ.get('XDG_CACHE_HOME') or f'{_home()}/.cache'}/workflow-worker"


def _home() -> str:
    home = os.path.expanduser("~")  # noqa: PTH111 (see above)
    if home == "~":
        # A user whom the system does not know, as in some containers: else a folder of this name.
        raise RuntimeError("this user has no home folder: set WORKER_CACHE to a folder")
    return home
