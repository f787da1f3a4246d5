"""Allowlist of hosts: those that a step's credential names, and those that the user allows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from worker.errors import UsageError

DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"(?P<host>\*|(\*\.)?[\w.-]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d{1,5}))?", re.ASCII)


class HostPattern(Struct, frozen=True, kw_only=True):
    """Pattern of allowed hosts: a name, ``*.x`` for all below ``x``, or ``*``.

    A ``port`` of ``None`` allows any. A ``public_only`` pattern comes from somebody who may not
    lead requests into private networks, such as the author of a workflow.
    """

    host: str
    port: int | None = None
    public_only: bool = False

    @property
    def may_be_private(self) -> bool:
        """True for a pattern that names one host, by somebody who may open a private one."""
        return "*" not in self.host and not self.public_only

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
        raise UsageError(f"'{text}' is not a host: expected HOST[:PORT], or *.DOMAIN")
    port = int(match["port"]) if match["port"] else None
    return HostPattern(host=match["host"].strip("[]").lower(), port=port)


class Reach(Struct, frozen=True, kw_only=True):
    """Hosts that the steps of a run may reach: all steps ``everywhere``, each those ``by_step``."""

    everywhere: tuple[HostPattern, ...] = ()
    by_step: Mapping[str, tuple[HostPattern, ...]] = field(default_factory=dict)

    def of(self, step: str) -> tuple[HostPattern, ...]:
        """List the hosts that a step may reach."""
        return (*self.everywhere, *self.by_step.get(step, ()))


def hosts_in_credentials(
    credentials: Iterable[Mapping[str, Any]], *, public_only: bool = False
) -> tuple[HostPattern, ...]:
    """List the hosts that credentials name, in their URLs and under ``host`` and its synonyms."""
    pairs = (pair for credential in credentials for pair in credential.items())
    # A dict keeps the order and drops duplicates.
    patterns = {pattern: None for key, value in pairs if (pattern := _named_host(key, value))}
    return tuple(replace(pattern, public_only=public_only) for pattern in patterns)


def _named_host(key: str, value: Any) -> HostPattern | None:
    if not isinstance(value, str):
        return None
    parts = _split(value)
    if parts is not None and parts.scheme in DEFAULT_PORTS and parts.hostname:
        port = port_of(parts)
        # A pattern without a port would open every port of the host.
        return None if port is None else HostPattern(host=parts.hostname, port=port)
    # Other values may look like a host by chance ("password": "hunter2"), so keys count.
    if key.lower() in ("host", "hostname", "server") and _HOST.fullmatch(value):
        return parse_host_pattern(value)
    return None


def _split(value: str) -> SplitResult | None:
    try:
        return urlsplit(value)
    except ValueError:  # such as "http://[": a password can be any text
        return None


def port_of(parts: Any) -> int | None:
    """Return the port of a split URL, or its scheme's; ``None`` where the port is invalid."""
    try:
        return parts.port or DEFAULT_PORTS[parts.scheme]
    except ValueError:
        return None
