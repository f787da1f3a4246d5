"""Server-sent events: what a browser is told of what happens, no faster than it takes it."""

from __future__ import annotations

import asyncio
import json

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.view.dashboard.context import parts_of, session_of
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.listener import Listener, LiveUpdate
from worker.view.dashboard.sessions import Session

PAUSE_S = 0.1
"""What happens within it is told at once."""
ALIVE_S = 15.0
"""After so long without news something is said, so that a browser that is gone is noticed."""


async def live(request: Request) -> Response:
    """The news of a run (``?run=ID``), of an order (``?order=ID``), or of all."""
    hub = parts_of(request).hub
    if hub.full:
        return Response("Too many pages are open.\n", 503)
    run_id, order_id = (request.query_params.get(name, "") for name in ("run", "order"))
    return Stream(hub, session_of(request), run_id=run_id, order_id=order_id)


class Stream(Response):
    """An answer that goes on until the browser leaves, or its session ends."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, session: Session, *, run_id: str, order_id: str) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._hub = hub
        self._session = session
        self._wanted = {"run_id": run_id, "order_id": order_id}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with self._hub.listen(**self._wanted) as listener:
            tasks = [
                asyncio.create_task(self._tell(listener, send)),
                asyncio.create_task(_gone(receive)),
            ]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, listener: Listener, send: Send) -> None:
        """A browser that takes nothing holds this up, and nothing else."""
        told = LiveUpdate(anew=True)
        while not (told.ended or self._session.over):
            body = text_of(told).encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(PAUSE_S)
            told = await listener.take(ALIVE_S)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def text_of(told: LiveUpdate) -> str:
    """As the wire has it."""
    parts = []
    if told.anew:
        parts.append("event: anew\ndata: \n\n")
    if told.lines:
        parts.append(f"event: lines\ndata: {json.dumps(told.lines)}\n\n")
    if told.changed:
        parts.append("event: changed\ndata: \n\n")
    return "".join(parts) or ": alive\n\n"
