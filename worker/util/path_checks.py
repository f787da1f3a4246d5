"""Checks of paths that are texts of a user or a workflow, and perhaps no paths at all.

Those of :class:`~pathlib.Path` raise OSError for a text that is longer than a file's name can be,
such as JSON; these return False.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path


def exists(path: str | Path) -> bool:
    return _check(Path(path).exists)


def is_file(path: str | Path) -> bool:
    return _check(Path(path).is_file)


def is_dir(path: str | Path) -> bool:
    return _check(Path(path).is_dir)


def _check(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except OSError as error:
        # A missing permission stays an error: the file may exist.
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False
