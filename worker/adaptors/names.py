"""Names of adaptors: ``@openfn/language-http@7.2.10``, ``http@latest``, ``http``."""

from __future__ import annotations

import functools
import re

from msgspec import Struct

from worker.errors import UsageError
from worker.workflow.documents.data import shorten

PREFIX = "@openfn/language-"
COMMON = f"{PREFIX}common"
LATEST = "latest"

_NAME = re.compile(r"(@[a-z0-9][\w.-]*/)?[a-z0-9][\w.-]*", re.ASCII)
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[\w.]+)?|latest", re.ASCII)
_MAX_LENGTH = 200


class Specifier(Struct, frozen=True, kw_only=True, order=True):
    """A package's name and its version; ``latest`` where none was written."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def short(self) -> str:
        """Name without OpenFn's prefix."""
        return self.name.removeprefix(PREFIX)


def parse(text: str) -> Specifier:
    """Parse a specifier. Raises :class:`UsageError`."""
    specifier = parse_or_none(text)
    if specifier is None:
        raise UsageError(
            f"'{shorten(text)}' is not the name of an adaptor: expected NAME@VERSION"
            " (http@7.2.10, @openfn/language-http@latest)"
        )
    return specifier


def parse_or_none(text: str) -> Specifier | None:
    """Parse a specifier; return ``None`` where it is invalid."""
    # Before the cache, which would keep it.
    return _parsed(text) if len(text) <= _MAX_LENGTH else None


# Every run looks its adaptors up, and workflows name the same few.
@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Specifier | None:
    # The first character may be the scope's "@", which begins no version.
    name, at, version = text.rpartition("@") if "@" in text[1:] else (text, "", "")
    version = version if at else LATEST
    # Names become folders of the cache, so nothing like ".." may pass.
    if not _NAME.fullmatch(name) or not _VERSION.fullmatch(version):
        return None
    return Specifier(name=package_of(text), version=version)


def package_of(text: str) -> str:
    """Return the full name in a specifier, whatever its version is."""
    name = text.rpartition("@")[0] if "@" in text[1:] else text
    return name if "/" in name else f"{PREFIX}{name}"


def version_key(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Return a key that sorts versions by number, a pre-release before its release."""
    numbers, _, prerelease = version.partition("-")
    return tuple(int(number) for number in numbers.split(".")), not prerelease, prerelease
