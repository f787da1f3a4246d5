"""Host and Origin headers that requests may have. Others are refused: DNS rebinding."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from worker.util.loopback import is_loopback, parse_ip

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedHosts:
    """Host names with ports of this server. ``any_address`` allows every IP address."""

    names: frozenset[str]
    port: int
    # Safe where the server listens on all addresses: DNS rebinding needs a name, not an address.
    any_address: bool = False

    def allows(self, host: str) -> bool:
        if host.lower() in self.names:
            return True
        if not self.any_address:
            return False
        name, colon, port = host.rpartition(":")
        return bool(colon) and port == str(self.port) and parse_ip(name) is not None

    def same_origin(self, origin: str, host: str) -> bool:
        """Return whether a page of this server sent the request."""
        return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def allowed_hosts(host: str, port: int, more: Iterable[str] = ()) -> AllowedHosts:
    """List the names of a server bound to ``host``.

    ``more`` are the names of a proxy or tunnel in front of it, with their ports.
    """
    address = parse_ip(host)
    any_address = address is not None and address.is_unspecified
    own_name = f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else host
    names = {own_name, *(_LOOPBACK if any_address or is_loopback(host) else ())}
    if any_address:
        names.add(socket.gethostname())
    # Browsers omit the default port.
    ports = ("", ":80") if port == 80 else (f":{port}",)
    own = [f"{name}{end}".lower() for name in names for end in ports]
    return AllowedHosts(
        names=frozenset([*own, *(name.lower() for name in more)]),
        port=port,
        any_address=any_address,
    )
