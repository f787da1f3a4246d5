"""Listening sockets: their connections send each part of a response at once."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from worker.util.listening import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_connections_do_not_wait_for_acknowledgements(host: str) -> None:
    try:
        listening = listen(host, 0)
    except OSError:
        pytest.skip(f"this machine has no {host}")
    with listening, socket.create_connection(listening.getsockname()[:2]):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_error_names_no_address_as_the_message_does() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(OSError) as raised:
        listen(*first.getsockname())
    assert (raised.value.errno, raised.value.strerror) == (
        errno.EADDRINUSE,
        os.strerror(errno.EADDRINUSE),
    )
