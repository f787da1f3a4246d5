"""Files and folders that only their user may read: they hold data of patients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def open_private(path: Path, buffering: int = -1) -> BinaryIO:
    """Create or truncate a file, and open it for writing. Raises ``OSError``.

    A new file gets the mode 0600. One that exists keeps its mode, which its user may have chosen.
    """
    # At creation: a mode that is set later leaves a moment in which others can open the file.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb", buffering)


def make_private_folder(folder: Path) -> None:
    """Create a folder and its parents where they are absent, each with the mode 0700."""
    for part in reversed((folder, *folder.parents)):
        # mkdir(parents=True) would create the parents with the mode of the umask.
        part.mkdir(mode=0o700, exist_ok=True)
