"""Performs calls for real, and writes down what was asked and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from worker.adaptors.http.exchange import (
    Exchange,
    ExchangeError,
    HttpReply,
    HttpRequest,
    reply_text,
    request_of,
)
from worker.sandbox.host import HostCall, HostReply, failed

NEVER = 10**16
"""When a reply arrives that never came: in some three hundred years."""


class Sender(Protocol):
    async def send(self, request: HttpRequest) -> HttpReply: ...


class RecordingHost:
    """A host that records. ``write`` receives every exchange when its reply arrives."""

    def __init__(self, sender: Sender, write: Callable[[Exchange], None]) -> None:
        self._sender, self._write = sender, write
        self._last = 0

    async def answer(self, call: HostCall) -> HostReply:
        try:
            request = request_of(call.text)
        except ExchangeError as error:
            return failed(call, "TypeError", str(error))
        began = time.monotonic_ns()
        try:
            reply = await self._sender.send(request)
        except asyncio.CancelledError:
            # The run ended first: so it must in a replay.
            ended = {"name": "Error", "message": "the run ended before the reply came"}
            self._note(call, request, HttpReply(error=ended), NEVER)
            raise
        # Answers are given in this order: so must their moments be.
        arrived = max(call.now + (time.monotonic_ns() - began) // 1000, self._last + 1)
        self._last = arrived
        self._note(call, request, reply, arrived)
        return HostReply(text=reply_text(reply), at=arrived)

    def _note(self, call: HostCall, request: HttpRequest, reply: HttpReply, arrived: int) -> None:
        self._write(
            Exchange(
                step=call.step,
                execution=call.execution,
                asked=call.now,
                arrived=arrived,
                request=request,
                reply=reply,
            )
        )
