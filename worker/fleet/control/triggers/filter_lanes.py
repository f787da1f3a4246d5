"""Lanes of topic triggers with a filter: messages of one wait for no filter of another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.filters import MAX_PROCESSES, FilterEvaluators
from worker.fleet.control.triggers.firing import Firing
from worker.fleet.control.triggers.topic_orders import dead_letter
from worker.fleet.messaging.end_tasks import end_tasks
from worker.fleet.messaging.topic_source import MAX_BATCH, TopicMessage
from worker.fleet.messaging.trigger_messages import MqttTrigger
from worker.sinks.log import LeveledLogger
from worker.util.machine_clock import monotonic_s

Item = Firing | DeadLetter
SLICE_S = 0.05
"""How long a lane filters messages before it makes their orders."""
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""The messages in all lanes; while there are more, none are received."""
MAX_UNRELIABLE = 2_000
"""The messages with QoS 0 in a lane, whose number nothing else bounds; others are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilteredMessage:
    """A message that a trigger's filter has to pass, and the order to make then."""

    trigger: LiveTrigger
    message: TopicMessage
    firing: Firing


class FilterLanes:
    """The messages that wait for filters, by trigger.

    ``commit`` makes orders, and ``finish`` is called for each message after that.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[object]],
        finish: Callable[[TopicMessage], None],
        log: LeveledLogger,
    ) -> None:
        self._commit = commit
        self._finish = finish
        self._log = log
        self._evaluators = FilterEvaluators()
        # Not the threads of the loop: slow filters would keep everything else out of them.
        self._threads = ThreadPoolExecutor(MAX_PROCESSES, thread_name_prefix="filter")
        self._places = asyncio.Semaphore(MAX_PROCESSES)
        self._lanes: dict[str, deque[FilteredMessage]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._overflowing: set[str] = set()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._stopping = False
        self._error: BaseException | None = None

    def put(self, item: FilteredMessage) -> None:
        """Append a message to the lane of its trigger."""
        id = item.trigger.id
        lane = self._lanes.setdefault(id, deque())
        if item.message.qos == 0 and len(lane) >= MAX_UNRELIABLE:
            self._drop(item)
            return
        lane.append(item)
        self._bytes += item.message.size_bytes
        if id not in self._tasks:
            self._tasks[id] = task = asyncio.create_task(self._serve(id))
            task.add_done_callback(self._note_error)

    def _drop(self, item: FilteredMessage) -> None:
        # Once for each time that the lane is too long.
        if item.trigger.id not in self._overflowing:
            self._overflowing.add(item.trigger.id)
            self._log.warning("topics.filter_too_slow", topic=item.message.topic)
        self._finish(item.message)

    async def has_room(self, wait_s: float) -> bool:
        """Wait up to ``wait_s`` seconds for room for more. Raise the error that a lane has met."""
        if self._bytes > MAX_WAITING_BYTES and self._error is None:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
        if self._error is not None:
            raise self._error
        return self._bytes <= MAX_WAITING_BYTES

    async def stop(self) -> None:
        """Finish the orders that are being made, and leave all other messages."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def close(self) -> None:
        """End the lanes and their processes. The broker sends again what is not acknowledged."""
        self._stopping = True
        await end_tasks(*self._tasks.values())
        # A thread that goes on would start a process that nobody ends.
        await asyncio.to_thread(self._threads.shutdown)
        self._evaluators.close()

    def _note_error(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = error
            self._changed.set()

    async def _serve(self, id: str) -> None:
        lane = self._lanes[id]
        while lane and not self._stopping:
            slice = [lane.popleft() for _ in range(min(len(lane), MAX_BATCH))]
            async with self._places:
                items = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._filter, slice
                )
            lane.extendleft(reversed(slice[len(items) :]))
            await self._commit([item for item in items if item is not None])
            for done in slice[: len(items)]:
                self._bytes -= done.message.size_bytes
                self._finish(done.message)
            self._changed.set()
        del self._lanes[id], self._tasks[id]
        self._overflowing.discard(id)

    def _filter(self, slice: Sequence[FilteredMessage]) -> list[Item | None]:
        """Filter the first messages of a slice, as many as there is time for."""
        ends_at = monotonic_s() + SLICE_S
        items: list[Item | None] = []
        for item in slice:
            if items and (self._stopping or monotonic_s() >= ends_at):
                break
            items.append(self._evaluate(item))
        return items

    def _evaluate(self, item: FilteredMessage) -> Item | None:
        definition = item.trigger.definition
        assert isinstance(definition, MqttTrigger)
        state = item.firing.input.decode()
        try:
            result = self._evaluators.evaluate(item.trigger.id, definition.filter, state)
        except Exception as error:
            if self._stopping:
                raise
            # The broker sends a message again that ends this process, for ever.
            text = f"{type(error).__name__}: {error}"
            return dead_letter(item.trigger, item.message, "defect", text)
        if result.error:
            return dead_letter(item.trigger, item.message, "filter_failed", result.error)
        return item.firing if result.passes else None
