"""Metrics and health endpoint: silent clients, foreign names, limits."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from worker.errors import MachineError, UsageError
from worker.fleet import metrics as endpoint
from worker.fleet.metrics import Metric, is_local_name, serve_metrics

pytest.importorskip("prometheus_client")
RUNS = Metric(name="runs", help="Runs", values={"lost": 2}, label="status", counts=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    with serve_metrics(str(number), lambda: [RUNS], lambda: "not connected"):
        yield number


def exchange(port: int, request: str) -> str:
    """Send a request, and return everything that the server sends until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(request.encode())
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def get(port: int, path: str, host: str = "127.0.0.1", method: str = "GET") -> str:
    return exchange(port, f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")


def test_metrics_and_health_are_served(port: int) -> None:
    metrics = get(port, "/metrics")
    assert metrics.startswith("HTTP/1.1 200 OK\r\n") and "text/plain" in metrics
    assert 'worker_runs_total{status="lost"} 2.0' in metrics
    health = get(port, "/health?verbose=1")
    assert health.startswith("HTTP/1.1 503 ") and health.endswith("\r\n\r\nnot connected\n")
    assert get(port, "/").startswith("HTTP/1.1 404 ")
    assert get(port, "/health", method="POST").startswith("HTTP/1.1 405 ")
    head = get(port, "/health", method="HEAD")
    assert "Content-Length: 14" in head and head.endswith("\r\n\r\n")
    assert exchange(port, "GET /health HTTP/1.0\r\n\r\n").startswith("HTTP/1.1 503 ")


def test_health_needs_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    number = free_port()
    with serve_metrics(str(number), lambda: [RUNS], lambda: ""):
        assert get(number, "/health/ready").endswith("\r\n\r\nok\n")
        metrics = get(number, "/metrics")
        assert metrics.startswith("HTTP/1.1 501 ")
        assert "pip install 'workflow-worker[metrics]'" in metrics
        monkeypatch.undo()
        assert "worker_runs_total" in get(number, "/metrics")


def test_clients_that_send_nothing_hold_nobody_up(port: int) -> None:
    with contextlib.ExitStack() as silent:
        for start in ("", "GET /health HT", "GET /health HTTP/1.1\r\nHost: x\r\n"):
            client = silent.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(start.encode())
        assert "not connected" in get(port, "/health")
        assert "worker_runs_total" in get(port, "/metrics")


def test_the_end_of_the_process_waits_for_no_client() -> None:
    number = free_port()
    with contextlib.ExitStack() as silent:
        with serve_metrics(str(number), list, lambda: ""):
            client = silent.enter_context(socket.create_connection(("127.0.0.1", number)))
            assert get(number, "/health").endswith("ok\n")
            threads = threading.active_count()
        assert threading.active_count() == threads - 1
        client.settimeout(10)
        assert client.recv(1) == b""
    with socket.create_server(("127.0.0.1", number)):
        pass  # the port is free again


def test_silent_clients_are_disconnected(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(endpoint, "REQUEST_TIMEOUT_S", 0.05)
    assert exchange(port, "GET /health HTTP/1.1\r\n") == ""


def test_connections_and_requests_are_bounded(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS", 0)
    with contextlib.suppress(ConnectionError):
        assert get(port, "/health") == ""
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS", 1)
    with contextlib.suppress(ConnectionError):
        assert exchange(port, f"GET /health HTTP/1.1\r\nX: {'x' * 70_000}\r\n\r\n") == ""
    assert "not connected" in get(port, "/health")


@pytest.mark.parametrize("path", ["/metrics", "/health"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1.nip.io"])
def test_a_foreign_name_reads_nothing(host: str, path: str, port: int) -> None:
    response = get(port, path, host)
    assert response.startswith("HTTP/1.1 421 ")
    assert "worker_runs" not in response and "not connected" not in response


def test_names_of_the_own_network_are_accepted() -> None:
    for name in ("127.0.0.1", "::1", "localhost", "worker", "north.clinic.svc.cluster.local", ""):
        assert is_local_name(name), name
    assert not is_local_name("example.org")


def test_the_own_name_is_accepted(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(endpoint, "_own_names", lambda: ("north", "north.clinic.example"))
    assert "not connected" in get(port, "/health", "north.clinic.example")


@pytest.mark.parametrize("address", ["x", "127.0.0.1:70000", "127.0.0.1:²", ""])
def test_an_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        serve_metrics(address, list, lambda: "").__enter__()


def test_an_occupied_port_is_reported(port: int) -> None:
    with pytest.raises(MachineError, match=f"cannot listen on {port}"):
        serve_metrics(str(port), list, lambda: "").__enter__()
