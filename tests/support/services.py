"""Services on this machine for tests of requests: each answers as a function says."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from worker.adaptors.http.exchange import HttpReply, HttpRequest
from worker.adaptors.http.live_host import LiveHost
from worker.sandbox.parent.host import CallTraffic, HostCall, RunTraffic

Answer = Callable[["Asked"], tuple[int, Mapping[str, str], bytes]]


class Asked:
    """A request that a service received; ``connection`` numbers its connections from 1."""

    def __init__(self, path: str, headers: Mapping[str, str], connection: int) -> None:
        self.path, self.headers, self.connection = path, headers, connection


class Service:
    """A running service: its port, and all requests that it received."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[Asked] = []
        self.connections = 0
        self.names: list[str] = []
        """Names that clients sent in their TLS handshakes."""

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[Service]:
    """Serve on a port of this machine, with connections that stay open."""
    service: Service

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            service.connections += 1
            self.number = service.connections

        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = Asked(self.path, {n.lower(): v for n, v in self.headers.items()}, self.number)
            service.asked.append(asked)
            status, headers, body = answer(asked)
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    service = Service(server.server_port)
    if tls is not None:
        tls.sni_callback = lambda connection, name, context: service.names.append(name or "")
        # Handshakes happen when a handler's thread reads, or one client would hold up the next.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    # A short interval: shutdown() waits for its end.
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


def resolve_to(monkeypatch: pytest.MonkeyPatch, address: str = "127.0.0.1") -> None:
    """Have every name resolve to one address, as a hostile name server can."""
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **named: real(address, *rest, **named)
    )


def call(step: str = "a", credential: str = "", run: RunTraffic | None = None) -> HostCall:
    """A call of a step, of a run of its own unless another is named."""
    return HostCall(
        number=1,
        kind="http",
        text="",
        step=step,
        execution=0,
        now_us=0,
        credential=credential,
        traffic=CallTraffic(run or RunTraffic()),
    )


async def get(
    host: LiveHost, url: str, by: HostCall | None = None, *headers: tuple[str, str], **fields: Any
) -> HttpReply:
    """Send a GET request of a call."""
    request = HttpRequest(method="GET", url=url, headers=headers, **fields)
    return await host.send(request, by or call())
