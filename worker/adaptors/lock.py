"""``adaptors.lock.json`` beside a project: what ``@latest`` came to, once, for everybody."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from worker.adaptors.names import Specifier
from worker.errors import UsageError

NAME = "adaptors.lock.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """The exact version of an adaptor, and npm's integrity of its package."""

    version: str
    integrity: str


def read(folder: Path) -> dict[str, Locked]:
    """What is locked, by specifier as asked for; nothing where there is no lock file."""
    file = folder / NAME
    if not file.is_file():
        return {}
    try:
        listed = json.loads(file.read_text("utf-8"))["adaptors"]
        return {name: Locked(**fields) for name, fields in listed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is no lock file of adaptors: remove it, or mend it") from error


def write(folder: Path, locked: dict[str, Locked]) -> None:
    """Write the lock file of a folder."""
    listed = {
        name: {"version": one.version, "integrity": one.integrity}
        for name, one in sorted(locked.items())
    }
    text = json.dumps({"version": 1, "adaptors": listed}, indent=2)
    (folder / NAME).write_text(text + "\n", "utf-8")


def resolve(specifier: Specifier, locked: dict[str, Locked]) -> Specifier:
    """The exact version that a specifier is locked to, or the specifier itself."""
    found = locked.get(str(specifier))
    return Specifier(name=specifier.name, version=found.version) if found else specifier
