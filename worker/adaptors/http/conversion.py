"""Conversions of calls and replies, off the event loop where they are large."""

from __future__ import annotations

from typing import cast

from worker.adaptors.http.exchange import HttpReply, HttpRequest, reply_text, request_of
from worker.sandbox.parent.host import HostCall, off_loop


async def parse_request(call: HostCall) -> HttpRequest:
    """Parse the request of a call. Raises :class:`ExchangeError`."""
    request = await off_loop(request_of, call.text, size_bytes=len(call.text))
    return cast(HttpRequest, request)


async def format_reply(reply: HttpReply, call: HostCall) -> str:
    """Return a reply as JSON text. Raises :class:`TrafficExceeded`."""
    # One at a time: the pieces of a text and the text itself are in memory together.
    async with call.traffic.run.conversion:
        text = await off_loop(reply_text, reply, call.traffic.hold, size_bytes=len(reply.body))
        return cast(str, text)
