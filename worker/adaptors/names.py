"""How adaptors are named: ``@openfn/language-http@7.2.10``, ``http@latest``, ``http``."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from worker.errors import UsageError
from worker.workflow.documents.data import shorten

PREFIX = "@openfn/language-"
COMMON = f"{PREFIX}common"
LATEST = "latest"

_NAME = re.compile(r"(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[\w.]+)?|latest", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Specifier:
    """A package's name and its version; ``latest`` where none was written."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def short(self) -> str:
        return self.name.removeprefix(PREFIX)


def parse(text: str) -> Specifier:
    """A specifier as people write it. Raises :class:`UsageError`."""
    found = parsed(text)
    if found is None:
        raise UsageError(
            f"'{shorten(text)}' names no adaptor: expected NAME@VERSION"
            " (http@7.2.10, @openfn/language-http@latest)"
        )
    return found


@functools.lru_cache(maxsize=4096)
def parsed(text: str) -> Specifier | None:
    """:func:`parse`, or ``None`` for what it refuses."""
    name, at, version = text.rpartition("@") if "@" in text[1:] else (text, "", "")
    full = name if "/" in name else f"{PREFIX}{name}"
    wanted = version if at else LATEST
    if len(text) > 200 or not _NAME.fullmatch(name) or not _VERSION.fullmatch(wanted):
        return None
    return Specifier(name=full, version=wanted)


def order_of(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Sorts versions as people count them; one before a release comes before it."""
    numbers, _, rest = version.partition("-")
    return tuple(int(one) for one in numbers.split(".")), not rest, rest
