"""Which Host and Origin a request may have: another name that leads here is an attack by DNS."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    return host == "localhost" or ((found := _ip(host)) is not None and found.is_loopback)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The names, each with its port, that this server answers to. Where it listens on all
    addresses, any address will do: a page from elsewhere has a name, never an address."""

    names: frozenset[str]
    port: int
    any_address: bool = False

    def allows(self, host: str) -> bool:
        if host.lower() in self.names:
            return True
        if not self.any_address:
            return False
        name, colon, port = host.rpartition(":")
        return bool(colon) and port == str(self.port) and _ip(name) is not None

    def same_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this server sent the request."""
        return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def hosts_of(host: str, port: int, more: Iterable[str] = ()) -> Hosts:
    """The names of a server that is bound to ``host``; ``more`` are those of a proxy or tunnel
    before it, with their ports."""
    found = _ip(host)
    any_address = found is not None and found.is_unspecified
    shown = f"[{found}]" if isinstance(found, ipaddress.IPv6Address) else host
    names = {shown, *(_LOOPBACK if any_address or is_loopback(host) else ())}
    if any_address:
        names.add(socket.gethostname())
    ports = ("", ":80") if port == 80 else (f":{port}",)
    own = [f"{name}{end}".lower() for name in names for end in ports]
    return Hosts(
        names=frozenset([*own, *(one.lower() for one in more)]),
        port=port,
        any_address=any_address,
    )
