"""End of tasks that wait for a broker."""

from __future__ import annotations

import asyncio
from typing import Any

REPEAT_S = 0.1


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, wait until they have ended, and ignore their errors."""
    # Repeated: asyncio.wait_for of Python 3.11, which aiomqtt uses, loses a cancellation that comes
    # together with what it waits for, as an acknowledgement right before the connection breaks.
    # The task would go on, and who waits for its end would wait for ever.
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=REPEAT_S)
    # Errors that nobody retrieves are logged by asyncio, when the tasks are deleted.
    await asyncio.gather(*tasks, return_exceptions=True)
