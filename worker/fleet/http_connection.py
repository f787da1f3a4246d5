"""HTTP connections of browsers and callers, closed when they are idle."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# A browser sends its request within this time, and then waits for the response.
IDLE_TIMEOUT_S = 10.0
# Over this many connections each new one replaces one that is idle, or whose request has not come
# to its end: clients without a session must not exhaust the file descriptors, nor keep others out.
MAX_CONNECTIONS = 500


class Connection(H11Protocol):
    """Connection that must not stay idle: before a request, within it, or between two."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._make_room()
        self._idle_since = self.loop.time()
        self._timer = self.loop.call_later(IDLE_TIMEOUT_S, self._check)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    @property
    def idle_since(self) -> float | None:
        """Time since which no request is handled; None while one is."""
        handled = self.cycle is not None and not self.cycle.response_complete
        return None if handled else self._idle_since

    @property
    def replaceable_since(self) -> float | None:
        """Time since which the client has sent no whole request; None while one is handled."""
        receives = self.cycle is not None and self.cycle.more_body
        return self._idle_since if receives else self.idle_since

    def _check(self) -> None:
        since = self.idle_since
        if since is not None and self.loop.time() >= since + IDLE_TIMEOUT_S:
            self.transport.abort()
            return
        self._timer = self.loop.call_later(IDLE_TIMEOUT_S / 2, self._check)

    def _make_room(self) -> None:
        # The server counts this connection already.
        if len(self.connections) <= MAX_CONNECTIONS:
            return
        others: list[Any] = [each for each in self.connections if each is not self]
        idle = [each for each in others if each.replaceable_since is not None]
        if idle:
            # First those that never sent a request; then those that have been idle for longest, or
            # whose bodies have not come to their end.
            oldest = min(idle, key=lambda each: (each.cycle is not None, each.replaceable_since))
            oldest.transport.abort()
            # Now, not when the loop reports it: a burst must not choose the same one again.
            self.connections.discard(oldest)
