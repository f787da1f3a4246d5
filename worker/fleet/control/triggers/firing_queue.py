"""A queue of orders to make: those that come together share a transaction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from worker.fleet.control.triggers.firing import Firing
from worker.fleet.control.triggers.order_result import Fired
from worker.fleet.messaging.bus import MAX_BATCH_BYTES

MAX_BATCH = 256


class FiringQueue:
    """Collects orders while a transaction runs, and makes them in the next one."""

    def __init__(self, fire: Callable[[list[Firing]], Awaitable[list[Fired]]]) -> None:
        self._fire = fire
        self._waiting: deque[tuple[Firing, asyncio.Future[Fired]]] = deque()
        self._not_empty = asyncio.Event()

    async def fire(self, firing: Firing) -> Fired:
        """Make an order; return after the commit."""
        future: asyncio.Future[Fired] = asyncio.get_running_loop().create_future()
        self._waiting.append((firing, future))
        self._not_empty.set()
        return await future

    async def run(self) -> None:
        """Make orders until cancelled."""
        while True:
            await self._not_empty.wait()
            batch = self._next_batch()
            if not self._waiting:
                self._not_empty.clear()
            results = await self._fire([firing for firing, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                # A caller that has gone has cancelled its future.
                if not future.done():
                    future.set_result(result)

    def _next_batch(self) -> list[tuple[Firing, asyncio.Future[Fired]]]:
        batch = [self._waiting.popleft()]
        size = len(batch[0][0].input)
        # A transaction has all inputs in memory once more.
        while self._waiting and len(batch) < MAX_BATCH:
            size += len(self._waiting[0][0].input)
            if size > MAX_BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch
