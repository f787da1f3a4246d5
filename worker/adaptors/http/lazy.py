"""A live host that costs nothing until the first request: most runs make none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.adaptors.http.allowlist import Named
from worker.adaptors.http.messages import HttpReply, HttpRequest
from worker.sandbox.host import Answer, Call

if TYPE_CHECKING:
    from worker.adaptors.http.live import Live


class OnDemand:
    """A :class:`Live` that is made when it is needed: its library takes 0.2 s to import."""

    def __init__(self, allowed: Sequence[Named]) -> None:
        self._allowed = allowed
        self._live: Live | None = None

    def _made(self) -> Live:
        if self._live is None:
            from worker.adaptors.http.live import Live

            self._live = Live(self._allowed)
        return self._live

    async def answer(self, call: Call) -> Answer:
        return await self._made().answer(call)

    async def send(self, request: HttpRequest) -> HttpReply:
        return await self._made().send(request)

    async def close(self) -> None:
        if self._live is not None:
            await self._live.close()
