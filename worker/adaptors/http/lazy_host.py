"""A live host that costs nothing until the first request: most runs make none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.adaptors.http.allowlist import HostPattern
from worker.adaptors.http.exchange import HttpReply, HttpRequest
from worker.sandbox.host import HostCall, HostReply

if TYPE_CHECKING:
    from worker.adaptors.http.live_host import LiveHost


class LazyHost:
    """A :class:`LiveHost` that is made when it is needed: its library takes 0.2 s to import."""

    def __init__(self, allowed: Sequence[HostPattern]) -> None:
        self._allowed = allowed
        self._live: LiveHost | None = None

    def _made(self) -> LiveHost:
        if self._live is None:
            from worker.adaptors.http.live_host import LiveHost

            self._live = LiveHost(self._allowed)
        return self._live

    async def answer(self, call: HostCall) -> HostReply:
        return await self._made().answer(call)

    async def send(self, request: HttpRequest) -> HttpReply:
        return await self._made().send(request)

    async def close(self) -> None:
        if self._live is not None:
            await self._live.close()
