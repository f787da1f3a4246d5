"""Bridge from a run's process to its host: sends calls, waits for replies and for timers."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Any

from worker.sandbox.child.frame_receiver import FrameReceiver
from worker.sandbox.clock import Clock, ClockKind
from worker.sandbox.protocol import HOST_CALL, FrameSender

Deliver = Callable[[int, str], None]


class HostBridge:
    """Sends host calls to the parent and delivers the replies to the engine.

    A clock that stands still waits for nothing but replies: each is delivered at the time that it
    carries, and in between the clock moves forward. ``skip(seconds)`` lets that time pass; it
    raises when the run's time limit is reached. Set ``deliver(number, text)`` to receive replies.
    """

    def __init__(
        self,
        receiver: FrameReceiver,
        sender: FrameSender,
        clock: Clock,
        skip: Callable[[float], None],
    ) -> None:
        self._receiver = receiver
        self._sender = sender
        self._clock = clock
        self._skip = skip
        self._open_calls = 0
        self._due: list[tuple[int, int, str]] = []
        self.deliver: Deliver = lambda number, text: None

    def call(self, number: int, kind: str, text: str, **origin: Any) -> None:
        """Send a call to the parent; ``origin`` identifies the execution that makes it."""
        self._open_calls += 1
        now_us = self._clock.now_us()
        header = {"type": HOST_CALL, "number": number, "kind": kind, "now_us": now_us, **origin}
        # With the events before it: what a run does outside must not be unknown to the parent.
        self._sender.put(header, text)
        self._sender.send()

    def wait(self, seconds: float | None) -> None:
        """Wait until a reply arrives or the time is over; ``None`` waits without end."""
        if self._clock.kind is ClockKind.VIRTUAL:
            self._wait_virtually(math.inf if seconds is None else seconds)
            return
        if not self._due:
            self._due += self._receive(seconds)
        if self._due:
            # One reply at a time: jobs that two replies wake in one turn could run on in another
            # order than in a replay.
            self._deliver(*self._due.pop(0))
        elif self._clock.stands_still and seconds is not None:
            self._skip(seconds)

    def _wait_virtually(self, seconds: float) -> None:
        # All open calls are awaited first, as any of them may carry the earliest time.
        while self._open_calls:
            for reply in self._receive(None):
                heapq.heappush(self._due, reply)
        until_reply_s = math.inf
        if self._due:
            until_reply_s = max(0.0, (self._due[0][0] - self._clock.now_us()) / 1e6)
        self._skip(min(seconds, until_reply_s))
        if until_reply_s <= seconds:
            self._deliver(*heapq.heappop(self._due))

    def _deliver(self, at: int, number: int, text: str) -> None:
        self._clock.reach(at)
        self.deliver(number, text)

    def _receive(self, seconds: float | None) -> Iterator[tuple[int, int, str]]:
        """Yield the replies that arrive within ``seconds``, each with its time and number."""
        for header, text in self._receiver.receive(seconds):
            self._open_calls -= 1
            yield header["at_us"], header["number"], text or ""
