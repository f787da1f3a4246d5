"""Allowlist of hosts: those that credentials name, and those that the user allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from worker.errors import UsageError

DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"(?P<host>\*|(\*\.)?[\w.-]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?", re.ASCII)


class HostPattern(Struct, frozen=True, kw_only=True):
    """Pattern of allowed hosts: a name, ``*.x`` for all below ``x``, or ``*``.

    A ``port`` of ``None`` allows any.
    """

    host: str
    port: int | None = None

    @property
    def exact(self) -> bool:
        """True for a pattern that names one host."""
        return "*" not in self.host

    def fits(self, host: str, port: int) -> bool:
        if self.port not in (None, port):
            return False
        if self.host.startswith("*"):
            # The dot stays in the suffix, or *.example.org would open evilexample.org.
            return self.host == "*" or host.endswith(self.host[1:])
        return host == self.host


def parse_host_pattern(text: str) -> HostPattern:
    """Parse ``HOST[:PORT]``. Raises :class:`UsageError`."""
    match = _HOST.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no host: expected HOST[:PORT], or *.DOMAIN")
    port = int(match["port"]) if match["port"] else None
    return HostPattern(host=match["host"].strip("[]").lower(), port=port)


def hosts_in_credentials(credentials: Iterable[Mapping[str, Any]]) -> tuple[HostPattern, ...]:
    """List the hosts that credentials name, in their URLs and under ``host`` and its synonyms."""
    # A dict keeps the order and drops duplicates.
    patterns: dict[HostPattern, None] = {}
    for credential in credentials:
        for key, value in credential.items():
            if not isinstance(value, str):
                continue
            parts = urlsplit(value)
            if parts.scheme in DEFAULT_PORTS and parts.hostname:
                patterns[HostPattern(host=parts.hostname, port=port_of(parts))] = None
            # Other values may look like a host by chance ("password": "hunter2"), so keys count.
            elif key.lower() in ("host", "hostname", "server") and _HOST.fullmatch(value):
                patterns[parse_host_pattern(value)] = None
    return tuple(patterns)


def port_of(parts: Any) -> int | None:
    """Return the port of a split URL, or its scheme's; ``None`` where the port is invalid."""
    try:
        return parts.port or DEFAULT_PORTS[parts.scheme]
    except ValueError:
        return None
