"""HTTP endpoint for Prometheus metrics and a health check.

``/metrics`` returns the metrics. ``/health/ready`` (and ``/health``) returns 200 while the process
can work, else 503 and the reason; ``/health/live`` 503 only where it has to be started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from worker.errors import MachineError, UsageError
from worker.fleet.histogram import Histogram
from worker.util import invariant_checks
from worker.util.invariant_checks import Invariant
from worker.util.listening import listen

# A scraper sends its request at once; whoever does not is disconnected.
REQUEST_TIMEOUT_S = 5.0
# A few scrapers and health checks; further connections are closed at once.
MAX_CONNECTIONS = 64
_MAX_HEAD_BYTES = 16 * 1024
_TEXT = "text/plain; charset=utf-8"
_NEEDS_EXTRA = b"/metrics needs an extra: pip install 'workflow-worker[metrics]'\n"
# Domains that nobody can register: DNS rebinding needs a public name.
_LOCAL_DOMAINS = (".local", ".internal", ".svc", ".localhost", ".lan", ".home.arpa", ".test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Metric. ``values`` are keyed by the value of ``label``, or by ``""`` without a label.

    ``label`` may be several names with commas between them; then the keys are values likewise.
    """

    name: str
    help: str
    values: Mapping[str, float]
    label: str = ""
    counts: bool = False

    @property
    def labels(self) -> list[str]:
        """The names of the labels."""
        return self.label.split(",") if self.label else []

    def values_of(self, key: str) -> list[str]:
        """Return the values of the labels in a key."""
        return key.split(",", len(self.labels) - 1) if self.label else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Metric of a histogram."""

    name: str
    help: str
    histogram: Histogram


AnyMetric = Metric | Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Response of the endpoint."""

    status: HTTPStatus
    body: bytes
    media_type: str = _TEXT


_Render = Callable[[str], _Page]
_Commands = Mapping[str, Callable[[], object]]


def invariants_metric() -> Metric:
    """Build the metric of the invariants that were broken in this process."""
    return Metric(
        name="invariants_broken",
        help="Invariants that were broken, by their names: defects to report",
        values={each.value: invariant_checks.broken[each] for each in Invariant},
        label="invariant",
        counts=True,
    )


def dropped_metric(dropped: tuple[int, int]) -> Metric:
    """Build the metric of messages that a participant received or published, and dropped."""
    received, published = dropped
    return Metric(
        name="messages_dropped",
        help="Messages dropped as too many waited already, by direction",
        values={"received": received, "published": published},
        label="direction",
        counts=True,
    )


@contextlib.contextmanager
def serve_metrics(
    address: str | None,
    metrics: Callable[[], Iterable[AnyMetric]],
    problem: Callable[[], str],
    stalled: Callable[[], str] = lambda: "",
    commands: _Commands = MappingProxyType({}),
) -> Iterator[None]:
    """Serve metrics and health at ``HOST:PORT`` (or ``PORT`` on loopback) within the context.

    ``problem`` describes why the process cannot work for now, ``stalled`` why it never will again;
    each is empty while all is well. A POST calls the one of ``commands`` that has its path, in a
    thread of the endpoint. Without an address, do nothing.
    """
    if address is None:
        yield
        return
    host, port = _parse_address(address)
    render = _renderer(metrics, problem, stalled)
    try:
        listening = listen(host, port)
    except OSError as error:
        raise MachineError(f"cannot listen on {address}: {error.strerror}") from error
    server = _MetricsServer(listening, render, commands)
    # A thread of its own: a scrape must work while the event loop is busy. It is a daemon, so that
    # no scrape can hold up the end of the process.
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(timeout=5)


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"expected HOST:PORT or PORT, found '{text}'")
    # Loopback by default: metrics name workflows and workers.
    return host or "127.0.0.1", int(port)


class _MetricsServer:
    """HTTP server with one request per connection, on an event loop of its own."""

    def __init__(self, listening: socket.socket, render: _Render, commands: _Commands) -> None:
        self._listening = listening
        self._render = render
        self._commands = commands
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()

    def run(self) -> None:
        """Serve until stopped."""
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    def stop(self) -> None:
        """Stop from another thread."""
        # The loop is closed already where the thread failed.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._connected, sock=self._listening, limit=_MAX_HEAD_BYTES
        )
        await self._stopped.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._connections) < MAX_CONNECTIONS:
                self._connections.add(task)
                await self._handle(reader, writer)
        finally:
            self._connections.discard(task)
            # Not closed but aborted: a client that does not read cannot hold it open.
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        failures = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with contextlib.suppress(*failures):
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                request = _parse_request(await reader.readuntil(b"\r\n\r\n"))
                # In a thread: looking up the own name may take seconds.
                trusted = is_local_name(request.host) or request.host in await asyncio.to_thread(
                    _own_names
                )
                writer.write(self._respond(request, trusted=trusted))
                await writer.drain()

    def _respond(self, request: _Request, *, trusted: bool) -> bytes:
        command = self._commands.get(request.path) if request.method == "POST" else None
        if command is None and request.method not in ("GET", "HEAD"):
            text = b"only GET and HEAD are allowed\n"
            page = _Page(status=HTTPStatus.METHOD_NOT_ALLOWED, body=text)
        elif not trusted:
            page = _Page(status=HTTPStatus.MISDIRECTED_REQUEST, body=b"unknown Host header\n")
        elif command is not None:
            command()
            page = _Page(status=HTTPStatus.OK, body=b"ok\n")
        else:
            page = self._render(request.path)
        return _encode(page, with_body=request.method != "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """Line and ``Host`` header of a request; the host is without its port."""

    method: str
    path: str
    host: str


def _parse_request(head: bytes) -> _Request:
    line, *fields = head.decode("latin-1").split("\r\n")
    method, _, rest = line.partition(" ")
    headers = dict(_header(field) for field in fields if ":" in field)
    path = rest.partition(" ")[0].partition("?")[0]
    return _Request(method=method, path=path, host=_without_port(headers.get("host", "")))


def _header(field: str) -> tuple[str, str]:
    name, _, value = field.partition(":")
    return name.lower(), value.strip()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _encode(page: _Page, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\n"
        f"Content-Type: {page.media_type}\r\nContent-Length: {len(page.body)}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (page.body if with_body else b"")


def is_local_name(name: str) -> bool:
    """Return whether a host is an address or a name that cannot be registered publicly.

    Others are refused: a web page whose name is made to resolve to this machine (DNS rebinding)
    could read the metrics. The name is empty for clients of HTTP/1.0, which send none.
    """
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_LOCAL_DOMAINS)
    return True


@functools.cache
def _own_names() -> tuple[str, str]:
    return socket.gethostname().lower(), socket.getfqdn().lower()


def _renderer(
    metrics: Callable[[], Iterable[AnyMetric]],
    problem: Callable[[], str],
    stalled: Callable[[], str],
) -> _Render:
    # On the first request: health needs no package beside the worker's own.
    exposition = functools.cache(lambda: _exposition(metrics))

    def render(path: str) -> _Page:
        match path:
            case "/metrics":
                try:
                    write, media_type = exposition()
                except ModuleNotFoundError:
                    return _Page(status=HTTPStatus.NOT_IMPLEMENTED, body=_NEEDS_EXTRA)
                return _Page(status=HTTPStatus.OK, body=write(), media_type=media_type)
            case "/health" | "/health/ready":
                return _health(problem())
            # The second is the name in OpenFn's worker, for the probes of its deployments.
            case "/health/live" | "/livez":
                return _health(stalled())
            case _:
                paths = b"/metrics, /health/live or /health/ready\n"
                return _Page(status=HTTPStatus.NOT_FOUND, body=paths)

    return render


def _health(reason: str) -> _Page:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
    return _Page(status=status, body=f"{reason or 'ok'}\n".encode())


def _exposition(metrics: Callable[[], Iterable[AnyMetric]]) -> tuple[Callable[[], bytes], str]:
    """Return a function that writes the metrics as text, and the media type of that text."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.registry import Collector

    class MetricCollector(Collector):
        def collect(self) -> Iterable[Any]:
            for metric in metrics():
                name = f"worker_{metric.name}"
                if isinstance(metric, Distribution):
                    buckets, total = metric.histogram.buckets(), metric.histogram.total
                    yield HistogramMetricFamily(name, metric.help, buckets=buckets, sum_value=total)
                    continue
                family = CounterMetricFamily if metric.counts else GaugeMetricFamily
                samples = family(name, metric.help, labels=metric.labels)
                for key, number in metric.values.items():
                    samples.add_metric(metric.values_of(key), number)
                yield samples

    registry = CollectorRegistry()
    registry.register(MetricCollector())
    return lambda: generate_latest(registry), CONTENT_TYPE_LATEST
