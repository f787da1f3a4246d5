"""Connections to allowed hosts, pooled per credential, host name and port.

A host that the user allows by its exact name may have any address. A host that only fits a pattern
(``*.example.org``), or that a workflow names, must have a public address, so that a name that
somebody else controls cannot lead into a private network. The address that was checked is the
address that is connected to, which rules out DNS rebinding.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import httpcore
import httpx

from worker.adaptors.http.addresses import is_public
from worker.adaptors.http.allowlist import DEFAULT_PORTS, HostPattern
from worker.adaptors.http.fair_stream import FairStream

MAX_POOLS = 32
_MAX_PORT = 65_535
# Lookups wait for name servers that others may run, so they have threads of their own.
_LOOKUP_THREADS = 64


class RequestBlocked(Exception):
    """A request that is not allowed; the message names the option that allows it."""


class ConnectionUser(NamedTuple):
    """Credential of the step that makes a request, and the hosts that the step may reach."""

    credential: str
    allowed: tuple[HostPattern, ...]


class Connections(httpx.AsyncBaseTransport):
    """Transport that checks the target of every request, redirects included.

    Connections are shared between requests with the same scheme, host name and port, and the same
    ``user`` in their extensions: services may bind a sign-in to a connection, and a connection
    that one step may use can lead to an address that another may not reach.
    """

    def __init__(self) -> None:
        # It reads SSL_CERT_FILE and SSL_CERT_DIR alone: ministries have their own authorities.
        self._tls = httpx.create_ssl_context(trust_env=True)
        self._lookups = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookup")
        self._pools: dict[ConnectionUser, httpcore.AsyncConnectionPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        user: ConnectionUser = request.extensions["user"]
        _check(request.url, user.allowed)
        pool = await self._pool(user)
        response = await pool.handle_async_request(_core_request(request))
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Stream(response.stream),
            extensions=response.extensions,
        )

    async def _pool(self, user: ConnectionUser) -> httpcore.AsyncConnectionPool:
        if user not in self._pools:
            await self._close_idle()
            backend = _GuardedBackend(user.allowed, self._lookups)
            self._pools.setdefault(user, _new_pool(self._tls, backend))
        return self._pools[user]

    async def _close_idle(self) -> None:
        """Close the oldest pools without a request while there are too many."""
        while len(self._pools) >= MAX_POOLS:
            idle = (user for user, pool in self._pools.items() if _is_idle(pool))
            if (user := next(idle, None)) is None:
                return
            await self._pools.pop(user).aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        self._lookups.shutdown(wait=False, cancel_futures=True)
        while self._pools:
            await self._pools.popitem()[1].aclose()


def _check(url: httpx.URL, allowed: tuple[HostPattern, ...]) -> None:
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    if port is None:
        raise RequestBlocked(f"only http and https can be requested, not {url.scheme}")
    if not any(pattern.fits(url.host, port) for pattern in allowed):
        raise RequestBlocked(_how_to_allow(url.host, port))


def _is_idle(pool: httpcore.AsyncConnectionPool) -> bool:
    return all(connection.is_idle() for connection in pool.connections)


def _new_pool(
    tls: ssl.SSLContext, backend: httpcore.AsyncNetworkBackend
) -> httpcore.AsyncConnectionPool:
    # Slots bound the requests of each run. A bound here would let one run wait for another.
    return httpcore.AsyncConnectionPool(
        ssl_context=tls,
        network_backend=backend,
        max_connections=None,
        max_keepalive_connections=20,
        keepalive_expiry=5.0,
    )


def _core_request(request: httpx.Request) -> httpcore.Request:
    url = request.url
    return httpcore.Request(
        method=request.method,
        # The name stays in the URL: connections are shared, and certificates checked, by it.
        url=httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        ),
        headers=request.headers.raw,
        content=cast(AsyncIterable[bytes], request.stream),
        extensions=request.extensions,
    )


class _Stream(httpx.AsyncByteStream):
    """Body of a response, whose connection is free again when it is closed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _GuardedBackend(httpcore.AnyIOBackend):
    """Network that resolves names by itself, and connects to allowed addresses only."""

    def __init__(self, allowed: tuple[HostPattern, ...], lookups: ThreadPoolExecutor) -> None:
        self._allowed = allowed
        self._lookups = lookups

    async def connect_tcp(
        self, host: str, port: int, *arguments: Any, **options: Any
    ) -> httpcore.AsyncNetworkStream:
        # The system's call would raise what is no error of a network.
        if port > _MAX_PORT:
            raise httpx.InvalidURL(f"{port} is no port")
        lookup = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        infos = await asyncio.get_running_loop().run_in_executor(self._lookups, lookup)
        address = self._choose(host, port, [str(info[4][0]) for info in infos])
        return FairStream(await super().connect_tcp(address, port, *arguments, **options))

    def _choose(self, host: str, port: int, addresses: list[str]) -> str:
        if any(pattern.may_be_private and pattern.fits(host, port) for pattern in self._allowed):
            return addresses[0]
        public = [address for address in addresses if is_public(address)]
        if not public:
            place = _place(host, port)
            raise RequestBlocked(
                f"{host} has the private address {addresses[0]}, which neither a pattern nor a"
                f" configuration in the workflow opens: name the host itself to reach it"
                f" (--allow-host {place})"
            )
        return public[0]


def _how_to_allow(host: str, port: int) -> str:
    place = _place(host, port)
    return (
        f"a request to {place} was refused, as no credential of the step names that host"
        f" (--allow-host {place} lets it through)"
    )


def _place(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port in DEFAULT_PORTS.values() else f"{name}:{port}"
