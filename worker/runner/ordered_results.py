"""Results of concurrent work in the order of its items, with a bounded look-ahead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

_AT_ONCE, _AHEAD = 2, 8
"""Items per slot that are worked on at once, and that wait to be yielded behind a slow one."""
Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_order(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], slots: int
) -> AsyncGenerator[Result, None]:
    """Work on items concurrently, and yield the results in order.

    ``work`` waits for one of ``slots`` slots itself: some items are prepared before one is free,
    but never all of them, as each may hold megabytes.
    """
    gate = asyncio.Semaphore(slots * _AT_ONCE)

    async def gated(item: Item) -> Result:
        async with gate:
            return await work(item)

    tasks: deque[asyncio.Task[Result]] = deque()
    try:
        for item in items:
            tasks.append(asyncio.create_task(gated(item)))
            if len(tasks) > slots * _AHEAD:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
