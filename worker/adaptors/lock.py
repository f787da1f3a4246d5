"""Lock file of adaptors: the exact versions that ``@latest`` was resolved to, for everybody.

``adaptors.lock.json`` lies beside a project's workflow.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from worker.adaptors.names import Specifier
from worker.errors import LoadError, UsageError
from worker.util.whole_files import write_whole
from worker.workflow.documents.document import parse_json, read_text

NAME = "adaptors.lock.json"


class LockedVersion(Struct, frozen=True, kw_only=True):
    """Exact version of an adaptor, and npm's integrity hash of its package."""

    version: str
    integrity: str


def read(folder: Path) -> dict[str, LockedVersion]:
    """Read the lock file of a folder: versions by specifier; empty where there is no file."""
    file = f"{folder}/{NAME}"
    # Tried first: most folders have none, and every run looks for it.
    if not os.path.isfile(file):  # noqa: PTH113
        return {}
    try:
        adaptors = parse_json(read_text(Path(file)), file)["adaptors"]
        return msgspec.convert(adaptors, dict[str, LockedVersion])
    except (LoadError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is not a lock file of adaptors: remove or repair it") from error


def write(folder: Path, locked: dict[str, LockedVersion]) -> None:
    """Write the lock file of a folder."""
    # Sorted, so that a new entry is one change in a version control system.
    adaptors = {
        specifier: {"version": entry.version, "integrity": entry.integrity}
        for specifier, entry in sorted(locked.items())
    }
    text = json.dumps({"version": 1, "adaptors": adaptors}, indent=2)
    write_whole(folder / NAME, f"{text}\n".encode())


def resolve(specifier: Specifier, locked: Mapping[str, LockedVersion]) -> Specifier:
    """Replace a specifier by the exact version that it is locked to, if there is one."""
    entry = locked.get(str(specifier))
    return Specifier(name=specifier.name, version=entry.version) if entry else specifier
