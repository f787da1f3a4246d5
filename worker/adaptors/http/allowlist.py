"""Which hosts requests may go to: those that credentials name, and those that were allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from worker.errors import UsageError

DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"(?P<host>\*|(\*\.)?[\w.-]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPattern:
    """A host that may be reached; ``port`` ``None`` is any. ``*.x`` is all below ``x``."""

    host: str
    port: int | None = None

    @property
    def exact(self) -> bool:
        return "*" not in self.host

    def fits(self, host: str, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.host.startswith("*"):
            return self.host == "*" or host.endswith(self.host[1:])
        return host == self.host


def named(text: str) -> HostPattern:
    """``HOST[:PORT]`` as people write it. Raises :class:`UsageError`."""
    found = _HOST.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"'{text}' is no host: expected HOST[:PORT], or *.DOMAIN")
    port = int(found["port"]) if found["port"] else None
    return HostPattern(host=found["host"].strip("[]").lower(), port=port)


def hosts_of(credentials: Iterable[Mapping[str, Any]]) -> tuple[HostPattern, ...]:
    """The hosts that credentials name, in their URLs and under ``host``."""
    found: dict[HostPattern, None] = {}
    for credential in credentials:
        for key, value in credential.items():
            if not isinstance(value, str):
                continue
            parts = urlsplit(value)
            if parts.scheme in DEFAULT_PORTS and parts.hostname:
                port = port_of(parts)
                found[HostPattern(host=parts.hostname, port=port)] = None
            elif key.lower() in ("host", "hostname", "server") and _HOST.fullmatch(value):
                found[named(value)] = None
    return tuple(found)


def port_of(parts: Any) -> int | None:
    """The port of a URL that was split; ``None`` where it has none that is one."""
    try:
        return parts.port or DEFAULT_PORTS[parts.scheme]
    except ValueError:
        return None
