"""Requests over a connection that wait for their replies, each until its deadline."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from worker.lightning.channel_errors import ReplyLost
from worker.lightning.serializer import ChannelFrame


@dataclass(eq=False, slots=True)
class PendingReply:
    """A request, whether it was written, and the future of its reply.

    ``deadline_s`` is when it expires, on the clock of the event loop.
    """

    topic: str
    event: str
    future: asyncio.Future[ChannelFrame]
    timeout_s: float
    deadline_s: float
    written: bool = False

    def on_written(self) -> None:
        self.written = True

    def lose(self, reason: str, *, timed_out: bool = False) -> None:
        if not self.future.done():
            lost = ReplyLost(reason, written=self.written, timed_out=timed_out)
            self.future.set_exception(lost)

    def expire(self) -> None:
        self.lose(f"no reply to {self.event} within {self.timeout_s:g} s", timed_out=True)


class PendingReplies:
    """The requests that wait, by the references of their messages. One timer serves them all."""

    def __init__(self) -> None:
        self._pending: dict[str, PendingReply] = {}
        self._expiry: asyncio.TimerHandle | None = None

    def add(self, ref: str, topic: str, event: str, timeout_s: float) -> PendingReply:
        """Add a request. It is removed by :meth:`remove`, once its future is done."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        pending = PendingReply(topic, event, loop.create_future(), timeout_s, deadline_s)
        self._pending[ref] = pending
        self._expire_at(deadline_s)
        return pending

    def remove(self, ref: str) -> None:
        del self._pending[ref]

    def settle(self, frame: ChannelFrame) -> None:
        """Pass a reply to the request that waits for it, if there is one."""
        pending = self._pending.get(frame.ref or "")
        if pending is not None and not pending.future.done():
            pending.future.set_result(frame)

    def lose(self, reason: str, topic: str | None = None) -> None:
        """Fail the requests of all topics or of one, as no reply will come."""
        for pending in self._pending.values():
            if topic in (None, pending.topic):
                pending.lose(reason)

    def close(self) -> None:
        """Stop the timer."""
        if self._expiry is not None:
            self._expiry.cancel()

    def _expire_at(self, deadline_s: float) -> None:
        # One timer, as nearly all replies come long before their deadlines: a timer for each
        # request would cost a tenth of what the request does.
        if self._expiry is not None:
            if self._expiry.when() <= deadline_s:
                return
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_at(deadline_s, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now_s = asyncio.get_running_loop().time()
        waiting = [pending for pending in self._pending.values() if not pending.future.done()]
        for pending in waiting:
            if pending.deadline_s <= now_s:
                pending.expire()
        later = [pending.deadline_s for pending in waiting if pending.deadline_s > now_s]
        if later:
            self._expire_at(min(later))
