"""Sender of the events of one run: in order, one in flight, until each is settled."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence

from worker.lightning.channel_errors import ReplyLost, RequestRefused
from worker.lightning.channels import Channel
from worker.lightning.delivery import (
    LOG,
    Accepted,
    Answer,
    LogBatches,
    Next,
    OutgoingEvent,
    Refused,
    Unanswered,
    after_answer,
    log_message,
    simplified,
    without_references,
)
from worker.lightning.run_store import RunFile
from worker.lightning.serializer import encode_json
from worker.sinks.log import LeveledLogger

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Size of waiting events above which log lines are dropped, and outputs withheld."""
_EVENT_BYTES = 400
# A line may take six times its size as JSON, and its frame must stay below the server's limit.
MAX_BATCH_BYTES = 1024 * 1024
# A server that does not answer is not asked again at once: it may be overloaded.
RETRY_S = 1.0


class EventSender:
    """Queue of one run's events, and their delivery on its channel."""

    def __init__(
        self,
        channel: Channel,
        run_id: str,
        file: RunFile,
        log: LeveledLogger,
        batches: LogBatches | None,
    ) -> None:
        self._channel = channel
        self._run_id = run_id
        self._file = file
        self._log = log
        self._batches = batches
        self._waiting: deque[OutgoingEvent] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._lost_dataclips: set[str] = set()
        self._lost_steps: set[str] = set()
        self.dropped_lines = 0

    @property
    def is_full(self) -> bool:
        return self._waiting_bytes > MAX_WAITING_BYTES

    def add(self, event: OutgoingEvent, *, stored: bool = False) -> None:
        """Queue an event; ``stored`` marks one that the file has already."""
        if event.is_log and self.is_full:
            self.dropped_lines += 1
            return
        if not stored:
            self._file.add(event)
        self._waiting.append(event)
        self._waiting_bytes += _size(event)
        self._changed.set()

    def close(self) -> None:
        """Queue nothing more; :meth:`run` returns when the queue is empty."""
        self._closed = True
        self._changed.set()

    async def run(self, *, first_is_repeated: bool = False) -> None:
        """Send the events until all are settled. Raises :class:`ChannelClosed`.

        ``first_is_repeated`` marks that an earlier process may have sent the first of them.
        """
        repeated = first_is_repeated
        while True:
            while not self._waiting:
                if self._closed:
                    return
                self._changed.clear()
                await self._changed.wait()
            if self._waiting[0].is_log:
                if not repeated:
                    await self._until_batch()
                    await self._send_lines(self._lines())
                else:
                    self._settle(1)
            else:
                await self._send(self._waiting[0], repeated=repeated)
            repeated = False

    async def _until_batch(self) -> None:
        """Wait until a batch is full or another event follows it, but not for long."""
        if self._batches is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._batches.wait_s):
                while self._may_grow(self._batches.lines):
                    self._changed.clear()
                    await self._changed.wait()

    def _may_grow(self, lines: int) -> bool:
        if self._closed or len(self._waiting) >= lines:
            return False
        return all(event.is_log for event in self._waiting)

    def _lines(self) -> list[OutgoingEvent]:
        # What has come while the last message was in flight shares the next one.
        limit = self._batches.lines if self._batches else 1
        lines: list[OutgoingEvent] = []
        size = 0
        for event in self._waiting:
            size += _size(event)
            if not event.is_log or len(lines) == limit or (lines and size > MAX_BATCH_BYTES):
                break
            lines.append(event)
        return lines

    async def _send_lines(self, lines: Sequence[OutgoingEvent]) -> None:
        complete = [without_references(line, set(), self._lost_steps) for line in lines]
        event, payload = log_message(self._run_id, complete, batch=self._batches is not None)
        answer = await self._request(event, payload)
        if isinstance(answer, Unanswered) and not answer.written:
            return
        if isinstance(answer, Refused):
            self._log.warning("log.refused", run_id=self._run_id, error=repr(answer.response)[:500])
            if len(lines) > 1:
                # One invalid line has the whole batch refused: the others must not go with it.
                await self._send_one_by_one(complete)
        self._settle(len(lines))

    async def _send_one_by_one(self, lines: Sequence[OutgoingEvent]) -> None:
        for line in lines:
            await self._request(*log_message(self._run_id, [line], batch=False))

    async def _send(self, event: OutgoingEvent, *, repeated: bool) -> None:
        current = without_references(event, self._lost_dataclips, self._lost_steps)
        while True:
            answer = await self._request(current.event, encode_json(current.payload))
            following = after_answer(current, answer, repeated=repeated)
            if isinstance(answer, Refused):
                self._log_refusal(current, answer, following)
            match following:
                case Next.DONE:
                    break
                case Next.DROP:
                    self._lose(event)
                    break
                case Next.SIMPLIFY:
                    current = simplified(current)
                case Next.REPEAT:
                    repeated = repeated or (isinstance(answer, Unanswered) and answer.written)
        self._settle(1)

    def _log_refusal(self, event: OutgoingEvent, answer: Refused, following: Next) -> None:
        if following is not Next.DONE:
            self._log.warning(
                "event.refused",
                run_id=self._run_id,
                event_type=event.event,
                error=repr(answer.response)[:500],
            )

    def _lose(self, event: OutgoingEvent) -> None:
        if event.makes:
            self._lost_dataclips.add(event.makes)
        if event.event == "step:start":
            self._lost_steps.add(event.step_id)

    async def _request(self, event: str, payload: bytes) -> Answer:
        try:
            await self._channel.request(event, payload)
        except RequestRefused as error:
            return Refused(error.response)
        except ReplyLost as error:
            if error.timed_out:
                self._log.warning("reply.lost", run_id=self._run_id, event_type=event)
                await asyncio.sleep(RETRY_S)
            return Unanswered(written=error.written)
        return Accepted()

    def _settle(self, count: int) -> None:
        for _ in range(count):
            self._waiting_bytes -= _size(self._waiting.popleft())
        self._file.settle(count)


def _size(event: OutgoingEvent) -> int:
    """Return about how many bytes an event takes, which is what its texts take."""
    texts = [event.payload.get("output_dataclip") or ""]
    if event.event == LOG:
        texts = event.payload["message"]
    return _EVENT_BYTES + sum(map(len, texts))
