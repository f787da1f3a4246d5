"""The end of tasks that lose a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import gc

from worker.fleet.messaging.end_tasks import end_tasks


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    waiting = asyncio.Event()

    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            waiting.set()
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await waiting.wait()
    async with asyncio.timeout(30):
        await end_tasks(task)
    assert task.cancelled()


async def test_the_errors_of_ended_tasks_are_no_news() -> None:
    unretrieved: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, news: unretrieved.append(news))

    async def failing() -> None:
        raise ConnectionError("the connection broke")

    task = asyncio.create_task(failing())
    await asyncio.wait([task])
    await end_tasks(task)
    del task
    gc.collect()
    assert unretrieved == []
