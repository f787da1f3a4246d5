"""Host that answers requests for collections from a store, and passes on all others."""

from __future__ import annotations

import asyncio

from worker.adaptors.collections.answers import answer
from worker.adaptors.collections.settings import LOCAL_URL
from worker.adaptors.collections.stores import CollectionStore
from worker.adaptors.http.conversion import format_reply, parse_request
from worker.adaptors.http.exchange import ExchangeError, HttpReply, HttpRequest
from worker.adaptors.http.lazy_host import LazyHost
from worker.errors import WorkerError
from worker.sandbox.parent.host import Host, HostCall, HostReply, NoHost, error_reply


class CollectionsHost:
    """Answers requests below ``LOCAL_URL``; ``others`` gets the rest."""

    def __init__(self, store: CollectionStore, others: Host | None = None) -> None:
        self._store, self._others = store, others or NoHost()

    async def handle(self, call: HostCall) -> HostReply:
        # Most requests are for other hosts, and need not be parsed twice.
        if LOCAL_URL not in call.text:
            return await self._others.handle(call)
        try:
            request = await parse_request(call)
        except ExchangeError as error:
            return error_reply(call, "TypeError", str(error))
        if not _is_local(request):
            return await self._others.handle(call)
        reply = await _answer(self._store, request, call)
        return HostReply(text=await format_reply(reply, call), at_us=call.now_us)


class CollectionsSender:
    """Live host with a local store of collections, whose requests can be recorded."""

    def __init__(self, store: CollectionStore, live: LazyHost) -> None:
        self._store, self._live = store, live
        self._host = CollectionsHost(store, live)

    async def handle(self, call: HostCall) -> HostReply:
        return await self._host.handle(call)

    async def send(self, request: HttpRequest, call: HostCall) -> HttpReply:
        if _is_local(request):
            return await _answer(self._store, request, call)
        return await self._live.send(request, call)

    async def close(self) -> None:
        await self._live.close()


def _is_local(request: HttpRequest) -> bool:
    return request.url.startswith(f"{LOCAL_URL}/")


async def _answer(store: CollectionStore, request: HttpRequest, call: HostCall) -> HttpReply:
    try:
        # In a thread: another process may hold the lock of the file.
        return await asyncio.to_thread(answer, store, request, LOCAL_URL, call.now_us)
    except (OSError, WorkerError) as error:
        return HttpReply(error={"name": "Error", "message": str(error), "code": "ERR_STORE"})
