"""Receiver of a run's process: frames of its parent, and the time until which it waits for them."""

from __future__ import annotations

import select
import socket
import time
from typing import Any

from worker.engine.failures import Interrupted
from worker.sandbox.protocol import READ_BYTES, FrameDecoder, decode_object


class FrameReceiver:
    """Receives frames. Set ``deadline_s`` (of ``time.monotonic``) to end waiting at a time."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        # A job's text may hold half a surrogate pair, and so may the input of a run.
        self._decoder = FrameDecoder(decode_object, errors="surrogatepass")
        self.deadline_s: float | None = None

    def receive(self, seconds: float | None) -> list[tuple[dict[str, Any], str | None]]:
        """Return the frames that arrive within ``seconds``; ``None`` waits without end.

        Raises :class:`Interrupted` at the deadline, and :class:`ConnectionResetError` where the
        parent is gone.
        """
        wait_s = self._bounded(seconds)
        if wait_s is not None and not select.select([self._channel], [], [], wait_s)[0]:
            if self._rest_s() == 0:
                raise Interrupted("the time is over")
            return []
        data = self._channel.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError("the parent closed the channel")
        return list(self._decoder.feed(data))

    def _bounded(self, seconds: float | None) -> float | None:
        rest_s = self._rest_s()
        if rest_s is None:
            return seconds
        return rest_s if seconds is None else min(seconds, rest_s)

    def _rest_s(self) -> float | None:
        if self.deadline_s is None:
            return None
        return max(0.0, self.deadline_s - time.monotonic())
