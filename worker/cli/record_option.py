"""Option ``--record on-failure``: a recording is kept only where something goes wrong."""

from __future__ import annotations

from pathlib import Path

from worker.errors import UsageError

ON_FAILURE = "on-failure"
DEFAULT_FOLDER = Path("recordings")


def failure_folder(value: str | None) -> Path | None:
    """Return the folder of ``on-failure`` or ``on-failure:DIR``; ``None`` for any other value."""
    name, colon, folder = (value or "").partition(":")
    if name != ON_FAILURE:
        return None
    return Path(folder) if colon and folder else DEFAULT_FOLDER


def make_folder(folder: Path) -> None:
    """Create the folder of recordings. Raises :class:`UsageError` if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}") from error
