"""Server-sent events for open pages, no faster than the browser reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.view.dashboard.context import app_context, current_session
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.listener import Listener, LiveUpdate
from worker.view.dashboard.sessions import Session

# Updates within this time are sent together: each costs the browser a layout of the page.
PAUSE_S = 1.0
# Without updates a comment is sent this often, so that a closed connection is detected.
HEARTBEAT_S = 15.0
# Tabs of one person: without a limit one session could take all streams.
MAX_STREAMS = 24


async def live(request: Request) -> Response:
    """Stream the updates of a run (``?run=ID``), of an order (``?order=ID``), or of all."""
    context, session = app_context(request), current_session(request)
    if request.method == "HEAD":
        return Response(media_type=LiveStream.media_type)
    if context.hub.full or session.streams >= MAX_STREAMS:
        return Response("Too many pages are open.\n", 503)
    run_id, order_id = (request.query_params.get(name, "") for name in ("run", "order"))
    is_open = partial(context.sessions.is_open, session)
    return LiveStream(context.hub, session, is_open, run_id=run_id, order_id=order_id)


class LiveStream(Response):
    """Response that lasts until the browser disconnects or its session ends."""

    media_type = "text/event-stream"

    def __init__(
        self, hub: Hub, session: Session, is_open: Callable[[], bool], *, run_id: str, order_id: str
    ) -> None:
        super().__init__()
        # The length of a stream is unknown.
        del self.headers["content-length"]
        self._hub = hub
        self._session = session
        self._is_open = is_open
        self._filter = {"run_id": run_id, "order_id": order_id}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with self._counted(), self._hub.listen(**self._filter) as listener:
            tasks = [
                asyncio.create_task(self._send_updates(listener, send)),
                asyncio.create_task(_wait_for_disconnect(receive)),
                # Signing out ends the streams of other tabs now, not with the next update.
                asyncio.create_task(self._session.ended.wait()),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        # A browser that does not read must not hold up the end.
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._session.streams += 1
        try:
            yield
        finally:
            self._session.streams -= 1

    async def _send_updates(self, listener: Listener, send: Send) -> None:
        # Backpressure: a browser that does not read blocks this task only, and its listener is
        # bounded.
        # Changes between the rendering of the page and this connection may have been missed.
        update = LiveUpdate(reload=True)
        while not update.ended and self._is_open():
            body = encode_update(update).encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(PAUSE_S)
            update = await listener.take(HEARTBEAT_S)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def encode_update(update: LiveUpdate) -> str:
    """Encode an update as server-sent events."""
    chunks = []
    if update.reload:
        chunks.append("event: reload\ndata: \n\n")
    if update.lines:
        chunks.append(f"event: lines\ndata: {json.dumps(update.lines)}\n\n")
    if update.responds is not None:
        chunks.append(f"event: control\ndata: {json.dumps(update.responds)}\n\n")
    if update.changed:
        chunks.append("event: changed\ndata: \n\n")
    return "".join(chunks) or ": alive\n\n"
