"""Host that performs HTTP requests, to allowed hosts only (protects from SSRF).

A host that is allowed by its exact name may have any address. A host that only fits a pattern
(``*.example.org``) must have a public address, so that a name that somebody else controls cannot
lead into a private network. The address that was checked is the address that is connected to,
which rules out DNS rebinding.
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
from worker.sandbox.parent.host import HostCall, HostReply, error_reply
from worker.version import VERSION

MAX_RESPONSE_BYTES = 50 * 1024 * 1024
MAX_CONCURRENT_REQUESTS = 20
CONNECT_TIMEOUT_S = 30.0


class RequestBlocked(Exception):
    """A request that is not allowed; the message names the option that allows it."""


class LiveHost:
    """Performs HTTP requests for the runs of one pool."""

    def __init__(self, allowed: Iterable[HostPattern]) -> None:
        self._allowed = tuple(allowed)
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REQUESTS)
        self._client = httpx.AsyncClient(
            transport=_GuardedTransport(self._allowed),
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            # A proxy from the environment would connect in our place, unchecked.
            trust_env=False,
            headers={"user-agent": f"workflow-worker/{VERSION}"},
        )

    async def handle(self, call: HostCall) -> HostReply:
        try:
            request = request_of(call.text)
        except ExchangeError as error:
            return error_reply(call, "TypeError", str(error))
        return HostReply(text=reply_text(await self.send(request)), at_us=call.now_us)

    async def send(self, request: HttpRequest) -> HttpReply:
        """Send a request. Errors become replies, with the names and codes that Node has."""
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
            return _error("Error", *_describe(error, request))

    async def _send(self, request: HttpRequest) -> HttpReply:
        next_request = self._client.build_request(
            request.method, request.url, headers=list(request.headers), content=request.body or None
        )
        redirects_left = request.redirects
        while True:
            response = await self._client.send(next_request, stream=True)
            try:
                if redirects_left and response.next_request is not None:
                    redirects_left, next_request = redirects_left - 1, response.next_request
                    continue
                return await _reply(response)
            finally:
                # A response that is not closed keeps its connection out of the pool.
                await response.aclose()

    async def close(self) -> None:
        await self._client.aclose()


async def _reply(response: httpx.Response) -> HttpReply:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise RequestBlocked(
                f"the response is over the limit of {MAX_RESPONSE_BYTES // 2**20} MB"
            )
    # The body is decoded, so headers about its encoding would not be true any more.
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


def _describe(error: Exception, request: HttpRequest) -> tuple[str, str]:
    """Return the message and the code by which Node.js reports such an error."""
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


class _GuardedTransport(httpx.AsyncBaseTransport):
    """Transport that checks the target of every request, redirects included."""

    def __init__(self, allowed: tuple[HostPattern, ...]) -> None:
        self._allowed = allowed
        # The transport reads SSL_CERT_FILE and SSL_CERT_DIR alone: ministries have their own CAs.
        self._inner = httpx.AsyncHTTPTransport(trust_env=True)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or DEFAULT_PORTS.get(request.url.scheme)
        if port is None:
            raise RequestBlocked(f"only http and https can be requested, not {request.url.scheme}")
        fitting = [pattern for pattern in self._allowed if pattern.fits(host, port)]
        if not fitting:
            raise RequestBlocked(_how_to_allow(host, port))
        exact = any(pattern.exact for pattern in fitting)
        address = await _resolve(host, port, allow_private=exact)
        # The certificate is checked against the name, although the address is connected to.
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


async def _resolve(host: str, port: int, *, allow_private: bool) -> str:
    """Return the address to connect to. Raises :class:`RequestBlocked` on a private address."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(info[4][0]) for info in infos]
    if allow_private:
        return addresses[0]
    public = [address for address in addresses if ipaddress.ip_address(address).is_global]
    if not public:
        raise RequestBlocked(
            f"{host} has the private address {addresses[0]}: name the host itself to reach it"
            f" (--allow-host {host})"
        )
    return public[0]
