"""Live host that is created on the first request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from worker.adaptors.http.allowlist import Reach
from worker.adaptors.http.exchange import HttpReply, HttpRequest
from worker.sandbox.parent.host import HostCall, HostReply

if TYPE_CHECKING:
    from worker.adaptors.http.live_host import LiveHost


class LazyHost:
    """Creates a :class:`LiveHost` when the first request arrives, and delegates to it."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._live: LiveHost | None = None
        self._creating = asyncio.Lock()

    async def _host(self) -> LiveHost:
        async with self._creating:
            if self._live is None:
                # In a thread: other runs of this process must not wait for the import.
                self._live = await asyncio.to_thread(_create, self._reach)
            return self._live

    async def handle(self, call: HostCall) -> HostReply:
        return await (await self._host()).handle(call)

    async def send(self, request: HttpRequest, call: HostCall) -> HttpReply:
        return await (await self._host()).send(request, call)

    async def close(self) -> None:
        """Close the connections, if there are any."""
        if self._live is not None:
            await self._live.close()


def _create(reach: Reach) -> LiveHost:
    # Its HTTP library takes 0.2 s to import, and most runs make no request.
    from worker.adaptors.http.live_host import LiveHost

    return LiveHost(reach)
