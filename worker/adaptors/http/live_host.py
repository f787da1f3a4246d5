"""Host that performs HTTP requests, to allowed hosts only (protects from SSRF)."""

from __future__ import annotations

import asyncio
import socket
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpcore
import httpx

from worker.adaptors.http.allowlist import DEFAULT_PORTS, Reach, port_of
from worker.adaptors.http.connections import Connections, ConnectionUser, RequestBlocked
from worker.adaptors.http.content_coding import ACCEPTED, BodyDecoder, CodingError
from worker.adaptors.http.conversion import format_reply, parse_request
from worker.adaptors.http.exchange import ExchangeError, HttpReply, HttpRequest
from worker.sandbox.parent.host import CallTraffic, HostCall, HostReply, error_reply, off_loop
from worker.version import VERSION

MAX_RESPONSE_BYTES = 50 * 1024 * 1024
CONNECT_TIMEOUT_S = 30.0


class _NoCookies(CookieJar):
    """Jar that keeps nothing.

    Kept cookies would carry a session from one step, run or credential to the next.
    """

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Ignore the cookies that a response sets."""


class LiveHost:
    """Performs HTTP requests for the runs of one workflow."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._client = httpx.AsyncClient(
            transport=Connections(),
            cookies=_NoCookies(),
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            # A proxy from the environment would connect in our place, unchecked.
            trust_env=False,
            headers={"user-agent": f"workflow-worker/{VERSION}", "accept-encoding": ACCEPTED},
        )

    async def handle(self, call: HostCall) -> HostReply:
        try:
            request = await parse_request(call)
        except ExchangeError as error:
            return error_reply(call, "TypeError", str(error))
        reply = await self.send(request, call)
        return HostReply(text=await format_reply(reply, call), at_us=call.now_us)

    async def send(self, request: HttpRequest, call: HostCall) -> HttpReply:
        """Send a request. Errors become replies, with the names and codes that Node has.

        Raises :class:`TrafficExceeded` where the run's replies hold too many bytes.
        """
        try:
            async with call.traffic.run.slots, asyncio.timeout(request.timeout_s):
                return await self._send(request, call)
        except RequestBlocked as error:
            return _error("Error", str(error), "ERR_REFUSED")
        except CodingError as error:
            return _error("Error", str(error), "Z_DATA_ERROR")
        except TimeoutError:
            return _error("HeadersTimeoutError", "Headers Timeout Error", "UND_ERR_HEADERS_TIMEOUT")
        except socket.gaierror:
            parts = _split(request.url)
            host = request.url if parts is None else parts.hostname
            return _error("Error", f"getaddrinfo ENOTFOUND {host}", "ENOTFOUND")
        except (*_CORE_ERRORS, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return _error("Error", *_describe(error, request))

    async def _send(self, request: HttpRequest, call: HostCall) -> HttpReply:
        next_request = self._client.build_request(
            request.method,
            request.url,
            headers=list(request.headers),
            content=request.body or None,
            extensions={"user": ConnectionUser(call.credential, self._reach.of(call.step))},
        )
        redirects_left = request.redirects
        while True:
            response = await self._client.send(next_request, stream=True)
            try:
                if redirects_left and response.next_request is not None:
                    redirects_left, next_request = redirects_left - 1, response.next_request
                    continue
                return await _read(response, call.traffic)
            finally:
                # A response that is not closed keeps its connection out of the pool.
                await response.aclose()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _read(response: httpx.Response, traffic: CallTraffic) -> HttpReply:
    coding = response.headers.get("content-encoding", "")
    decoder = BodyDecoder(coding, traffic.run.conversion)
    body, received_bytes = bytearray(), 0
    async for chunk in response.aiter_raw():
        # Also as it comes: there are codings of any length for no bytes at all.
        received_bytes += len(chunk)
        _check_size(received_bytes)
        async for piece in decoder.decode(chunk):
            # Twice, for the copy that has a fixed size.
            traffic.hold(2 * len(piece))
            body += piece
            _check_size(len(body))
    return HttpReply(
        status=response.status_code,
        reason=response.reason_phrase,
        url=str(response.request.url),
        headers=_headers(response, decoder, len(body)),
        body=await off_loop(bytes, body, size_bytes=len(body)),
    )


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_RESPONSE_BYTES:
        raise RequestBlocked(f"the response is over the limit of {MAX_RESPONSE_BYTES // 2**20} MB")


def _headers(
    response: httpx.Response, decoder: BodyDecoder, length: int
) -> tuple[tuple[str, str], ...]:
    dropped = {"content-length", "transfer-encoding"}
    # Headers about the encoding of a body that is decoded would not be true any more.
    if decoder.decodes:
        dropped.add("content-encoding")
    headers = [(n, v) for n, v in response.headers.multi_items() if n.lower() not in dropped]
    return (*headers, ("content-length", str(length)))


def _error(name: str, message: str, code: str) -> HttpReply:
    return HttpReply(error={"name": name, "message": message, "code": code})


_CORE_ERRORS = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
)


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # such as http://[, which httpx accepts
        return None


def _describe(error: Exception, request: HttpRequest) -> tuple[str, str]:
    """Return the message and the code by which Node.js reports such an error."""
    text = str(error) or type(error).__name__
    parts = _split(request.url)
    if parts is None:
        return text, "ERR_INVALID_URL"
    place = f"{parts.hostname}:{port_of(parts)}" if parts.scheme in DEFAULT_PORTS else request.url
    if "CERTIFICATE" in text.upper():
        return f"{text} ({place})", "CERT_INVALID"
    if isinstance(error, httpcore.ConnectError):
        return f"connect ECONNREFUSED {place}", "ECONNREFUSED"
    if isinstance(error, (*_CORE_ERRORS, httpx.TransportError)):
        return f"{text} ({place})", "UND_ERR_SOCKET"
    return text, "ERR_INVALID_URL"
