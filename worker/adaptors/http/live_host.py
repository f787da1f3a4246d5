"""Requests for real: only to the hosts that were named, and into no network that was not meant.

A host that is named exactly may be anywhere. One that only fits a pattern (``*.example.org``) must
have a public address, so that a name which somebody else controls cannot lead to a private
network; the address that was looked at is the one that is connected to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

import httpx

from worker.adaptors.http.allowlist import DEFAULT_PORTS, HostPattern, port_of
from worker.adaptors.http.exchange import (
    ExchangeError,
    HttpReply,
    HttpRequest,
    reply_text,
    request_of,
)
from worker.sandbox.host import HostCall, HostReply, failed
from worker.version import VERSION

SIZE_LIMIT = 50 * 1024 * 1024
"""The most bytes of a response."""
AT_ONCE = 20
"""The most requests of a host at one time; the others wait."""


class RequestBlocked(Exception):
    """The request may not be made; the message says what to do about it."""


class LiveHost:
    """Performs HTTP for the runs of one pool."""

    def __init__(self, allowed: Iterable[HostPattern]) -> None:
        self._allowed = tuple(allowed)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._client = httpx.AsyncClient(
            transport=_Guard(self._allowed),
            timeout=httpx.Timeout(None, connect=30.0),
            trust_env=False,
            headers={"user-agent": f"workflow-worker/{VERSION}"},
        )

    async def answer(self, call: HostCall) -> HostReply:
        try:
            request = request_of(call.text)
        except ExchangeError as error:
            return failed(call, "TypeError", str(error))
        return HostReply(text=reply_text(await self.send(request)), at=call.now)

    async def send(self, request: HttpRequest) -> HttpReply:
        """The reply to a request; never raises."""
        try:
            async with self._slots, asyncio.timeout(request.timeout_s):
                return await self._send(request)
        except RequestBlocked as error:
            return _error("Error", str(error), "ERR_REFUSED")
        except TimeoutError:
            return _error("HeadersTimeoutError", "Headers Timeout Error", "UND_ERR_HEADERS_TIMEOUT")
        except socket.gaierror:
            host = urlsplit(request.url).hostname
            return _error("Error", f"getaddrinfo ENOTFOUND {host}", "ENOTFOUND")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return _error("Error", *_told(error, request))

    async def _send(self, request: HttpRequest) -> HttpReply:
        asked = self._client.build_request(
            request.method, request.url, headers=list(request.headers), content=request.body or None
        )
        left = request.redirects
        while True:
            response = await self._client.send(asked, stream=True)
            try:
                if left and response.next_request is not None:
                    left, asked = left - 1, response.next_request
                    continue
                return await _reply(response)
            finally:
                await response.aclose()

    async def close(self) -> None:
        await self._client.aclose()


async def _reply(response: httpx.Response) -> HttpReply:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > SIZE_LIMIT:
            raise RequestBlocked(f"the response is over the limit of {SIZE_LIMIT // 2**20} MB")
    # The body is given as it was before it was packed for the way.
    dropped = ("content-encoding", "content-length", "transfer-encoding")
    headers = [(n, v) for n, v in response.headers.multi_items() if n.lower() not in dropped]
    return HttpReply(
        status=response.status_code,
        reason=response.reason_phrase,
        url=str(response.request.url),
        headers=(*headers, ("content-length", str(len(body)))),
        body=bytes(body),
    )


def _error(name: str, message: str, code: str) -> HttpReply:
    return HttpReply(error={"name": name, "message": message, "code": code})


def _told(error: Exception, request: HttpRequest) -> tuple[str, str]:
    parts = urlsplit(request.url)
    place = f"{parts.hostname}:{port_of(parts)}" if parts.scheme in DEFAULT_PORTS else request.url
    text = str(error) or type(error).__name__
    if "CERTIFICATE" in text.upper():
        return f"{text} ({place})", "CERT_INVALID"
    if isinstance(error, httpx.ConnectError):
        return f"connect ECONNREFUSED {place}", "ECONNREFUSED"
    if isinstance(error, httpx.TransportError):
        return f"{text} ({place})", "UND_ERR_SOCKET"
    return text, "ERR_INVALID_URL"


class _Guard(httpx.AsyncBaseTransport):
    """Looks at where every request, redirects too, is about to go."""

    def __init__(self, allowed: tuple[HostPattern, ...]) -> None:
        self._allowed = allowed
        # Of the environment it takes SSL_CERT_FILE and SSL_CERT_DIR: ministries have their own CAs.
        self._inner = httpx.AsyncHTTPTransport(trust_env=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or DEFAULT_PORTS.get(request.url.scheme)
        if port is None:
            raise RequestBlocked(f"only http and https can be requested, not {request.url.scheme}")
        fitting = [one for one in self._allowed if one.fits(host, port)]
        if not fitting:
            raise RequestBlocked(_how_to_allow(host, port))
        address = await _address(host, port, anywhere=any(one.exact for one in fitting))
        guarded = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        return await self._inner.handle_async_request(guarded)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _how_to_allow(host: str, port: int) -> str:
    place = host if port in DEFAULT_PORTS.values() else f"{host}:{port}"
    return (
        f"a request to {place} was refused, as no credential names that host"
        f" (--allow-host {place} lets it through)"
    )


async def _address(host: str, port: int, *, anywhere: bool) -> str:
    """Return the address to connect to. Raises :class:`RequestBlocked` on a private address."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(one[4][0]) for one in found]
    if anywhere:
        return addresses[0]
    public = [one for one in addresses if ipaddress.ip_address(one).is_global]
    if not public:
        raise RequestBlocked(
            f"{host} has the private address {addresses[0]}: name the host itself to reach it"
            f" (--allow-host {host})"
        )
    return public[0]
