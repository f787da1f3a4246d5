"""Host that performs requests and records each with its reply."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from worker.adaptors.http.conversion import format_reply, parse_request
from worker.adaptors.http.exchange import (
    Exchange,
    ExchangeError,
    HttpReply,
    HttpRequest,
)
from worker.sandbox.parent.host import HostCall, HostReply, TrafficExceeded, error_reply

NEVER_US = 10**16
"""Arrival time of a reply that never came: in some three hundred years."""


class Sender(Protocol):
    """Sends the requests of calls; errors are replies."""

    async def send(self, request: HttpRequest, call: HostCall) -> HttpReply: ...


class RecordingHost:
    """Records exchanges: ``write`` receives each when its reply arrives."""

    def __init__(self, sender: Sender, *write: Callable[[Exchange], None]) -> None:
        self._sender, self._writers = sender, write
        self._last_arrival = 0

    async def handle(self, call: HostCall) -> HostReply:
        try:
            request = await parse_request(call)
        except ExchangeError as error:
            return error_reply(call, "TypeError", str(error))
        started = time.monotonic_ns()
        try:
            reply = await self._sender.send(request, call)
        except (asyncio.CancelledError, TrafficExceeded):
            # The run ended before its reply. In a replay the reply must not arrive either.
            ended = {"name": "Error", "message": "the run ended before the reply came"}
            self._record(call, request, HttpReply(error=ended), NEVER_US)
            raise
        # Replies are delivered in this order, so no two may have the same time in a replay.
        arrived = max(call.now_us + (time.monotonic_ns() - started) // 1000, self._last_arrival + 1)
        self._last_arrival = arrived
        self._record(call, request, reply, arrived)
        return HostReply(text=await format_reply(reply, call), at_us=arrived)

    def _record(self, call: HostCall, request: HttpRequest, reply: HttpReply, arrived: int) -> None:
        exchange = Exchange(
            step=call.step,
            execution=call.execution,
            sent_us=call.now_us,
            arrived_us=arrived,
            request=request,
            reply=reply,
        )
        for write in self._writers:
            write(exchange)

    def with_writer(self, write: Callable[[Exchange], None]) -> RecordingHost:
        """Return a host for the same requests that passes exchanges to one more writer."""
        return RecordingHost(self._sender, *self._writers, write)
