"""Requests for real: TLS that is checked, redirects that are looked at, limits that hold."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from worker.adaptors.http import live_host as module
from worker.adaptors.http.allowlist import HostPattern, Reach, parse_host_pattern
from worker.adaptors.http.exchange import HttpReply, HttpRequest
from worker.adaptors.http.live_host import LiveHost
from worker.sandbox.parent.host import HostCall

CALL = HostCall(number=1, kind="http", text="", step="a", execution=0, now_us=0)


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Start a server that redirects to ``?to=``, or else sends 2 MB; yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = self.path.partition("?to=")[2]
            self.send_response(302 if target else 200)
            self.send_header("location" if target else "x-host", target or self.headers["host"])
            body = b"" if target else b"x" * 2_000_000
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


async def asked(url: str, *allowed: HostPattern, **fields: Any) -> HttpReply:
    host = LiveHost(Reach(everywhere=tuple(allowed)))
    try:
        return await host.send(HttpRequest(method="GET", url=url, **fields), CALL)
    finally:
        await host.close()


async def test_a_certificate_is_checked_and_an_authority_of_ones_own_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with serving(context) as port:
        url, allowed = f"https://localhost:{port}/", parse_host_pattern("localhost")
        refused = await asked(url, allowed)
        assert refused.error["code"] == "CERT_INVALID"
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert (await asked(url, allowed)).status == 200
        # The name counts, not the address that it leads to.
        by_address = await asked(f"https://127.0.0.1:{port}/", parse_host_pattern("127.0.0.1"))
        assert by_address.error["code"] == "CERT_INVALID"


async def test_a_redirect_is_followed_only_where_requests_may_go() -> None:
    with serving() as port, serving() as other:
        here, there = (f"http://127.0.0.1:{one}/" for one in (port, other))
        allowed = parse_host_pattern(f"127.0.0.1:{port}")
        followed = await asked(f"{here}?to={here}", allowed, redirects=5)
        assert followed.status == 200 and followed.url == here
        refused = await asked(f"{here}?to={there}", allowed, redirects=5)
        assert refused.error["code"] == "ERR_REFUSED" and str(other) in refused.error["message"]
        assert (await asked(f"{here}?to={there}", allowed)).status == 302


async def test_a_name_that_leads_into_a_private_network_is_refused_unless_it_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving() as port:
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda host, *rest, **named: real("127.0.0.1", *rest, **named),
        )
        url = f"http://api.evil.test:{port}/"
        refused = await asked(url, parse_host_pattern("*.evil.test"))
        assert "private address 127.0.0.1" in refused.error["message"]
        reached = await asked(url, parse_host_pattern("api.evil.test"))
        assert dict(reached.headers)["x-host"] == f"api.evil.test:{port}"


async def test_a_response_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", 1024 * 1024)
    with serving() as port:
        found = await asked(f"http://127.0.0.1:{port}/", parse_host_pattern("127.0.0.1"))
        assert "over the limit of 1 MB" in found.error["message"]


async def test_a_service_that_does_not_answer_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        found = await asked(url, parse_host_pattern("127.0.0.1"), timeout_s=0.2)
        assert found.error["code"] == "UND_ERR_HEADERS_TIMEOUT"


def refused_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def test_errors_have_the_names_that_they_have_in_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = refused_port()
    refused = await asked(f"http://127.0.0.1:{port}/", parse_host_pattern("127.0.0.1"))
    message = f"connect ECONNREFUSED 127.0.0.1:{port}"
    assert refused.error == {"name": "Error", "message": message, "code": "ECONNREFUSED"}

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        late = await asked(url, parse_host_pattern("127.0.0.1"), timeout_s=0.2)
    assert late.error == {
        "name": "HeadersTimeoutError",
        "message": "Headers Timeout Error",
        "code": "UND_ERR_HEADERS_TIMEOUT",
    }

    def not_found(*arguments: Any, **named: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    unknown = await asked("http://nowhere.test/x", parse_host_pattern("nowhere.test"))
    message = "getaddrinfo ENOTFOUND nowhere.test"
    assert unknown.error == {"name": "Error", "message": message, "code": "ENOTFOUND"}


@pytest.mark.parametrize(
    "partial",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"],
    ids=["before its response", "in the middle of its body"],
)
async def test_a_server_that_hangs_up_is_a_socket_error(partial: bytes) -> None:
    def hang_up(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(partial)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        reply = await asked(url, parse_host_pattern("127.0.0.1"))
        thread.join()
    assert (reply.error["name"], reply.error["code"]) == ("Error", "UND_ERR_SOCKET")
    assert reply.error["message"].endswith(f"({url.removeprefix('http://').rstrip('/')})")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x.test/", "http://", "nonsense", "http://a@b:99999/"])  # fmt: skip
async def test_what_is_no_request_is_an_error(url: str) -> None:
    assert (await asked(url, parse_host_pattern("*"))).error
