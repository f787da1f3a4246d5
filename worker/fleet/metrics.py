"""Figures for Prometheus and a health check, over HTTP, on request.

``/metrics`` gives the figures, ``/health`` answers 200 while the process is connected and 503
while it is not.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from worker.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure. ``values`` are by the value of ``label``; without a label under ``""``."""

    name: str
    help: str
    values: Mapping[str, float]
    label: str = ""
    counts: bool = False


@contextlib.contextmanager
def observed(
    place: str | None, figures: Callable[[], Iterable[Figure]], healthy: Callable[[], bool]
) -> Iterator[None]:
    """Serve figures and health at ``HOST:PORT`` (or ``PORT``, on loopback) for as long as this
    lasts; without a place, do nothing."""
    if place is None:
        yield
        return
    host, port = _place(place)
    try:
        server = make_server(host, port, _app(figures, healthy), WSGIServer, _Quiet)
    except OSError as error:
        raise UsageError(f"{place} cannot be listened on: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"expected HOST:PORT or PORT, found '{text}'")
    return host or "127.0.0.1", int(port)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests are no news."""


def _app(figures: Callable[[], Iterable[Figure]], healthy: Callable[[], bool]) -> Any:
    metrics = _metrics(figures)

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            case "/health":
                well = healthy()
                start("200 OK" if well else "503 Service Unavailable", [_TEXT])
                return [b"ok\n" if well else b"not connected\n"]
            case _:
                start("404 Not Found", [_TEXT])
                return [b"/metrics or /health\n"]

    return app


_TEXT = ("Content-Type", "text/plain; charset=utf-8")


def _metrics(figures: Callable[[], Iterable[Figure]]) -> Any:
    try:
        from prometheus_client import CollectorRegistry, make_wsgi_app
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
        from prometheus_client.registry import Collector
    except ModuleNotFoundError as error:
        extra = "pip install 'workflow-worker[metrics]'"
        raise UsageError(f"--metrics-listen needs an extra: {extra}") from error

    class Figures(Collector):
        def collect(self) -> Iterable[Any]:
            for figure in figures():
                family = CounterMetricFamily if figure.counts else GaugeMetricFamily
                labels = [figure.label] if figure.label else []
                found = family(f"worker_{figure.name}", figure.help, labels=labels)
                for value, number in figure.values.items():
                    found.add_metric([value] if figure.label else [], number)
                yield found

    registry = CollectorRegistry()
    registry.register(Figures())
    return make_wsgi_app(registry)
