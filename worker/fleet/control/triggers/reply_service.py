"""The service that publishes the results of orders on the topics that triggers name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

from worker.fleet.control.triggers.results import DueReply
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.messaging.bus import BrokerRefusal, Message, QuotaExceeded
from worker.sinks.log import LeveledLogger

# Also without a sign: another control plane may have processed the end of the run.
POLL_S = 1.0
# After a quota of the broker was exceeded, twice as long each time.
MIN_PAUSE_S, MAX_PAUSE_S = 1.0, 60.0
# While nothing can have a reply, unless this control plane gets such a trigger.
IDLE_POLL_S = 5.0


class ReplyHost(Protocol):
    """The part of a control plane that sends replies."""

    order_ended: Signal
    triggers_changed: Signal

    async def expects_replies(self) -> bool: ...

    async def due_replies(self) -> list[DueReply]: ...

    async def mark_replied(self, order_ids: Sequence[str]) -> None: ...

    async def confirm(self, message: Message) -> None: ...

    async def holds_topic_lock(self) -> bool: ...


class ReplyService:
    """Publishes each due reply until the broker has it: at least once."""

    def __init__(self, host: ReplyHost, log: LeveledLogger) -> None:
        self._host = host
        self._ended = host.order_ended.listen()
        self._changed = host.triggers_changed.listen()
        self._log = log
        self._pause_s = MIN_PAUSE_S

    async def run(self) -> None:
        """Send replies until cancelled."""
        while True:
            # Most fleets have no such trigger: the end of each order need not cost them queries.
            if not await self._host.expects_replies():
                await _wait(self._changed, IDLE_POLL_S)
                continue
            if await self._host.holds_topic_lock():
                replies = await self._host.due_replies()
                if replies and await self._send(replies):
                    continue
            await _wait(self._ended, POLL_S)

    async def _send(self, replies: Sequence[DueReply]) -> bool:
        """Publish replies. Return False where the broker is away."""
        sent, is_delayed = [], False
        for reply in replies:
            message = Message(
                topic=reply.topic, payload=reply.content, correlation=reply.correlation
            )
            try:
                await self._host.confirm(message)
            except QuotaExceeded as error:
                self._log.warning("reply.delayed", topic=reply.topic, error=str(error)[:200])
                is_delayed = True
                break
            except BrokerRefusal as error:
                # Not repeated: one that an access list or a limit refuses would delay the others.
                self._log.warning("reply.refused", topic=reply.topic, error=str(error)[:200])
            except ConnectionError:
                break
            else:
                self._pause_s = MIN_PAUSE_S
            sent.append(reply.order_id)
        if sent:
            await self._host.mark_replied(sent)
        # After those before it are marked: a process that ends meanwhile would send them again.
        if is_delayed:
            await self._pause()
        return len(sent) == len(replies)

    async def _pause(self) -> None:
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(MAX_PAUSE_S, 2 * self._pause_s)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, up to a time, and clear it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
    event.clear()
