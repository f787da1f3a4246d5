"""Suggestions for a path that does not exist, or that is a folder without a project."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from worker.workflow.documents.data import shorten

# A folder can have a million entries, and each is compared.
_MAX_ENTRIES = 2000
_MAX_LISTED = 6
_MAX_NAME = 255
_NO_WORKFLOWS = (".cases.", ".input.")


def suggest_file(path: Path) -> str:
    """Return a suggestion to append to a message about an absent file; empty if none is near."""
    from difflib import get_close_matches  # only for a mistake

    if str(path).startswith(("http:/", "https:/")):
        return " (URLs are not read here: save it as a file first)"
    if len(path.name) > _MAX_NAME:
        return ""
    # Without the suffixes, which make all names of a kind similar.
    # Of several files with one stem, the last one stays: one of the same kind.
    names = sorted(_names(path.parent), key=lambda name: (Path(name).suffix == path.suffix, name))
    stems = {Path(name).stem: name for name in names}
    close = get_close_matches(path.stem, stems, n=1, cutoff=0.7)
    return f"; did you mean '{shorten(str(path.parent / stems[close[0]]))}'?" if close else ""


def list_files(folder: Path, suffixes: tuple[str, ...]) -> str:
    """List the names of the files with these suffixes for a message; empty if there are none.

    Cases and inputs are left out.
    """
    names = sorted(
        name
        for name in _names(folder)
        if name.endswith(suffixes) and not any(part in name for part in _NO_WORKFLOWS)
    )
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(f"'{shorten(name)}'" for name in names[:_MAX_LISTED]) + more


def _names(folder: Path) -> Iterator[str]:
    try:
        yield from (entry.name for entry in islice(folder.iterdir(), _MAX_ENTRIES))
    except OSError:
        return
