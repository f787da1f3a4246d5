"""Names of this machine, and requests that a page of the web may have sent."""

from __future__ import annotations

import pytest

from worker.fleet.control.triggers.webhook_options import webhook_options
from worker.fleet.control.triggers.webhook_orders import is_from_a_page
from worker.util.loopback import is_loopback

LOOPBACK = ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LocalHost"]
ELSEWHERE = [
    "", "0.0.0.0", "10.0.0.1", "::", "example.org", "127.0.0.1.example.org", "127.example.org",
    "localhost.example.org", "127.0.0.1@example.org",
]  # fmt: skip


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    assert webhook_options(f"{host}:80", auth={}, open=False).loopback
    # In a Host header, an address of IPv6 has brackets.
    name = f"[{host}]" if host.startswith("::") else host
    assert not is_from_a_page({"host": name}, loopback=True)
    assert not is_from_a_page({"host": f"{name}:8080"}, loopback=True)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)
    assert is_from_a_page({"host": host}, loopback=True)
    assert is_from_a_page({"host": f"{host}:8080"}, loopback=True)
    # Without a host, a server listens on 127.0.0.1.
    assert host == "" or webhook_options(f"{host}:80", auth={}, open=False).needs_auth
