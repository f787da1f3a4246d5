"""Network streams that take turns, so that no service holds up the event loop.

What a library does with the bytes of one read it does in one turn of the loop, and a service
decides what that costs: a chunk of one byte takes as long to parse as one of a megabyte.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final
from weakref import WeakKeyDictionary

import httpcore

# The parser needs some 30 ms for these where each chunk has one byte.
READ_BYTES: Final = 8 * 1024
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class FairStream(httpcore.AsyncNetworkStream):
    """A stream whose reads are small; in a turn of the event loop, one of all streams returns."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    # The timeouts are the interface's.
    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bytes:
        read = await self._stream.read(min(max_bytes, READ_BYTES), timeout)
        async with self._turn:
            await asyncio.sleep(0)
        return read

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return FairStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
