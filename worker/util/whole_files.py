"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file, whose readers find its old content or all of the new.

    ``mode`` are the permissions of a new file, less the process's mask; a file that is there keeps
    its own. Raises ``OSError``; then nothing is left of the new content.
    """
    # Through a link to what it leads to; a device or a pipe cannot be replaced.
    target = path.resolve()
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    draft = target.with_name(f".{target.name[:200]}.{os.getpid()}.new")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if target.exists():
                os.fchmod(descriptor, target.stat().st_mode & 0o777)
        draft.replace(target)
    except OSError as error:
        # A message names the file, and not its draft.
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        draft.unlink(missing_ok=True)
