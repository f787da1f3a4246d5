"""HTTP endpoint for Prometheus metrics and a health check.

``/metrics`` returns the metrics. ``/health`` returns 200 while the process can work, else 503 and
the reason.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from worker.errors import MachineError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Metric. ``values`` are keyed by the value of ``label``, or by ``""`` without a label."""

    name: str
    help: str
    values: Mapping[str, float]
    label: str = ""
    counts: bool = False


@contextlib.contextmanager
def serve_metrics(
    address: str | None, metrics: Callable[[], Iterable[Metric]], problem: Callable[[], str]
) -> Iterator[None]:
    """Serve metrics and health at ``HOST:PORT`` (or ``PORT`` on loopback) within the context.

    ``problem`` describes why the process cannot work, or is empty. Without an address, do nothing.
    """
    if address is None:
        yield
        return
    host, port = _parse_address(address)
    try:
        server = make_server(host, port, _app(metrics, problem), WSGIServer, _SilentHandler)
    except OSError as error:
        raise MachineError(f"cannot listen on {address}: {error.strerror}") from error
    # A thread of its own: a scrape must work while the event loop is busy.
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"expected HOST:PORT or PORT, found '{text}'")
    # Loopback by default: metrics name workflows and workers.
    return host or "127.0.0.1", int(port)


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass  # a line per scrape would fill the log


def _app(metrics: Callable[[], Iterable[Metric]], problem: Callable[[], str]) -> Any:
    metrics_app = _metrics_app(metrics)

    def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                body: Iterable[bytes] = metrics_app(environ, start)
                return body
            case "/health":
                reason = problem()
                start("503 Service Unavailable" if reason else "200 OK", [_TEXT])
                return [f"{reason or 'ok'}\n".encode()]
            case _:
                start("404 Not Found", [_TEXT])
                return [b"/metrics or /health\n"]

    return app


_TEXT = ("Content-Type", "text/plain; charset=utf-8")


def _metrics_app(metrics: Callable[[], Iterable[Metric]]) -> Any:
    try:
        from prometheus_client import CollectorRegistry, make_wsgi_app
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
        from prometheus_client.registry import Collector
    except ModuleNotFoundError as error:
        extra = "pip install 'workflow-worker[metrics]'"
        raise UsageError(f"--metrics-listen needs an extra: {extra}") from error

    class MetricCollector(Collector):
        def collect(self) -> Iterable[Any]:
            for metric in metrics():
                family = CounterMetricFamily if metric.counts else GaugeMetricFamily
                labels = [metric.label] if metric.label else []
                samples = family(f"worker_{metric.name}", metric.help, labels=labels)
                for value, number in metric.values.items():
                    samples.add_metric([value] if metric.label else [], number)
                yield samples

    registry = CollectorRegistry()
    registry.register(MetricCollector())
    return make_wsgi_app(registry)
