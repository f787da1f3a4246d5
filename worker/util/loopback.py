"""Names and addresses of this machine alone."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Return True for ``localhost`` and for addresses of loopback; ``[::1]`` may have brackets.

    A name such as ``127.0.0.1.example.org`` is none: it can lead to any machine.
    """
    if host.lower() == "localhost":
        return True
    address = parse_ip(host)
    return address is not None and address.is_loopback


def parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address of IPv4 or IPv6; ``None`` for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
