"""Listening sockets: their connections send each part of a response at once."""

from __future__ import annotations

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
