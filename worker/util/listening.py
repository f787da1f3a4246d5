"""Listening sockets of our HTTP servers."""

from __future__ import annotations

import os
import socket


def listen(host: str, port: int, *, backlog: int = 128) -> socket.socket:
    """Bind a TCP socket and listen; ``host`` may be an IPv6 address in brackets. Raises OSError."""
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        if error.errno is None or isinstance(error, socket.gaierror):
            raise
        # Without the words that create_server adds, as messages name the address themselves.
        raise OSError(error.errno, os.strerror(error.errno)) from error
    # Its connections inherit the option, which asyncio sets only where it made the socket. Without
    # it the second part of a response waits 40 ms until the client has acknowledged the first.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
