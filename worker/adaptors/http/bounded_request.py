"""Requests of this program itself, bounded in time and size whatever a service sends.

Requests of jobs are those of :mod:`worker.adaptors.http.live_host`.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING

from worker.adaptors.http.content_coding import ACCEPTED, BodyDecoder, CodingError

if TYPE_CHECKING:
    import httpx


class RequestFailed(Exception):
    """A request without a whole reply; its text has no part of the URL, which may be secret."""


class ReplyTooLarge(Exception):
    """A reply whose body is over the limit."""


async def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes = b"",
    timeout_s: float,
    limit_bytes: int = 0,
) -> tuple[int, bytes]:
    """Send a request; return the status and the body of the reply, and follow no redirect.

    With ``limit_bytes`` of 0 the body is not read. ``timeout_s`` is the time of all of it. Raises
    :class:`RequestFailed` and :class:`ReplyTooLarge`.
    """
    # Imported late: few runs of a command send such a request.
    import httpx

    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(verify=_tls_context(), timeout=None) as client,  # noqa: S113
            client.stream(
                method, url, headers={**headers, "accept-encoding": ACCEPTED}, content=content
            ) as response,
        ):
            return response.status_code, await _read(response, limit_bytes)
    except TimeoutError:
        raise RequestFailed(f"no whole reply within {timeout_s:g} s") from None
    except CodingError as error:
        raise RequestFailed(f"the reply cannot be decompressed: {error}") from None
    # Their texts quote parts of the URL, and their causes all of it.
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise RequestFailed("the URL is invalid") from None
    except httpx.HTTPError as error:
        raise RequestFailed(str(error) or type(error).__name__) from None


async def _read(response: httpx.Response, limit_bytes: int) -> bytes:
    if not limit_bytes:
        return b""
    # Not by httpx, which decompresses all that arrived at once, with any number of codings.
    decoder = BodyDecoder(response.headers.get("content-encoding", ""))
    body, received_bytes = bytearray(), 0
    async for chunk in response.aiter_raw():
        received_bytes += len(chunk)
        async for piece in decoder.decode(chunk):
            body += piece
            if max(len(body), received_bytes) > limit_bytes:
                raise ReplyTooLarge
    return bytes(body)


@functools.cache
def _tls_context() -> ssl.SSLContext:
    # It takes 15 ms of the loop to read all authorities, and many requests can fail at once.
    import httpx

    return httpx.create_ssl_context()
