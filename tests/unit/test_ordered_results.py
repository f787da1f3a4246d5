"""Concurrent work whose results come in order, with a bounded look-ahead."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from worker.runner.ordered_results import in_order


async def test_results_are_in_order_and_only_some_items_are_begun() -> None:
    begun: list[int] = []
    first_may_end = asyncio.Event()
    active = most = 0

    async def work(item: int) -> int:
        nonlocal active, most
        begun.append(item)
        active += 1
        most = max(most, active)
        if item == 0:
            await first_may_end.wait()
        await asyncio.sleep(0)
        active -= 1
        return item

    results = in_order(range(100), work, slots=2)
    first = asyncio.ensure_future(anext(results))
    while len(begun) < 17:
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    # Eight for each slot wait for the first, and it is looked at no further.
    assert begun == list(range(17)) and most == 4
    first_may_end.set()
    assert [await first, *[item async for item in results]] == list(range(100))
    assert most == 4


async def test_what_is_left_is_cancelled() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> int:
        if item:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(item)
                raise
        return item

    async with aclosing(in_order(range(40), work, slots=1)) as results:
        assert await anext(results) == 0
        await asyncio.sleep(0)
    assert cancelled == [1, 2]
