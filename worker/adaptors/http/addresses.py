"""Addresses that anybody on the internet may be reached at, and all others."""

from __future__ import annotations

import ipaddress

# IANA assigns global addresses from this block alone. Outside of it are, among others, addresses
# of translators (64:ff9b::/96, 64:ff9b:1::/48), ::a.b.c.d, site-local and multicast ones, most of
# which `is_global` takes for global.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")

# Networks that `is_global` of all or some supported versions of Python takes for global.
_NOT_GLOBAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "168.63.129.16/32",  # the platform of Azure, as seen from its machines
        "192.0.0.0/24",  # protocol assignments; Oracle's platform has a service in it
        "192.88.99.0/24",  # relays of 6to4
        "2001::/23",  # protocol assignments: Teredo, which carries IPv4 addresses, ORCHID
        "2002::/16",  # 6to4, which carries IPv4 addresses
        "3fff::/20",  # documentation
    )
)


def is_public(text: str) -> bool:
    """Return True for a global unicast address that leads to no other address.

    Addresses that carry another one (NAT64, 6to4, Teredo, ``::a.b.c.d``) are not public whatever
    they carry, as a gateway decides where they lead. ``::ffff:a.b.c.d`` is judged as ``a.b.c.d``.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address not in _GLOBAL_UNICAST:
            return False
    if address.is_multicast or not address.is_global:
        return False
    return not any(address in network for network in _NOT_GLOBAL)
