"""What a run's process has of the world: its clock, and the parent, who performs its calls."""

from __future__ import annotations

import heapq
import math
import os
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

from worker.sandbox.clock import Clock, ClockKind
from worker.sandbox.protocol import CALL, Frames, frame

_READ_BYTES = 1 << 18

Reply = Callable[[int, str], None]


class HostBridge:
    """Sends the calls of adaptors to the parent, waits for answers and for timers.

    On a clock that stands still nothing is waited for but answers that are on their way; each
    arrives at its moment, and between them the clock goes forward. ``skip(seconds)`` lets time
    pass, and may refuse to.
    """

    def __init__(self, channel: socket.socket, clock: Clock, skip: Callable[[float], None]) -> None:
        self._channel = channel
        self._clock = clock
        self._skip = skip
        self._frames = Frames()
        self._asked = 0
        self._due: list[tuple[int, int, str]] = []
        self.reply: Reply = lambda number, text: None

    def call(self, number: int, kind: str, text: str, **where: Any) -> None:
        """Have the parent perform a call; ``where`` says which execution makes it."""
        self._asked += 1
        header = {"type": CALL, "number": number, "kind": kind, "now": self._clock.now(), **where}
        self._channel.sendall(frame(header, text))

    def wait(self, seconds: float | None) -> None:
        """Until an answer arrives or so many seconds have passed; ``None``: for ever."""
        if self._clock.kind is ClockKind.VIRTUAL:
            self._wait_virtually(math.inf if seconds is None else seconds)
            return
        if not self._due:
            self._due += self._answers(seconds)
        if self._due:
            # One at a time, or what follows from two answers would mingle in another order than
            # in a replay.
            self._deliver(*self._due.pop(0))
        elif self._clock.stands_still and seconds is not None:
            self._skip(seconds)

    def _wait_virtually(self, seconds: float) -> None:
        while self._asked:
            for answer in self._answers(None):
                heapq.heappush(self._due, answer)
        rest = math.inf if not self._due else max(0.0, (self._due[0][0] - self._clock.now()) / 1e6)
        self._skip(min(seconds, rest))
        if rest <= seconds:
            self._deliver(*heapq.heappop(self._due))

    def _deliver(self, at: int, number: int, text: str) -> None:
        self._clock.reach(at)
        self.reply(number, text)

    def _answers(self, seconds: float | None) -> Iterator[tuple[int, int, str]]:
        """What has been answered, after at most so many seconds. A parent who is gone ends all."""
        readable, _, _ = select.select([self._channel], [], [], seconds)
        if not readable:
            return
        data = self._channel.recv(_READ_BYTES)
        if not data:
            os._exit(0)
        for header, text in self._frames.feed(data):
            self._asked -= 1
            yield header["at"], header["number"], text or ""
