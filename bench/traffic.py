"""What a run costs a fleet: statements of its store, messages and bytes of its broker.

``python -m bench.traffic [RUNS]`` prints them. All participants are in this process, so that the
counts do not depend on what else the machine does, but for the sizes of batches.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Engine
from sqlalchemy.event import listen, remove

import worker
from bench.table import row
from worker.fleet.client import Client
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.local_fleet import local_fleet
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker
from worker.workflow.save import to_execution_plan

IN_FLIGHT = 40
STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"


def main(count: int = 400) -> None:
    """Print the counts for each of ``count`` runs, submitted with 40 in flight."""
    asyncio.run(measure(count))


async def measure(count: int) -> None:
    steps = [
        {
            "id": f"s{number}",
            "adaptor": "common",
            "expression": STEP,
            "next": {f"s{number + 1}": True},
        }
        for number in range(2)
    ]
    steps.append({"id": "s2", "adaptor": "common", "expression": STEP})
    plan = to_execution_plan(worker.load({"workflow": {"name": "bench", "steps": steps}}))
    with tempfile.TemporaryDirectory() as folder:
        async with local_fleet(capacity=8, store=f"sqlite:///{folder}/orders.db") as client:
            await _submit(client, plan, 40)
            with _counted() as counts:
                await _submit(client, plan, count)
    row("statements a run", f"{counts['statements'] / count:.1f}", "aim 8; those of ticks included")
    row("messages a run", f"{counts['messages'] / count:.1f}", "aim 6")
    row("bytes of messages a run", f"{counts['bytes'] / count:,.0f}", "aim 3,000; plans included")


async def _submit(client: Client, plan: dict[str, Any], count: int) -> None:
    before = (await client.summary())["orders"].get("success", 0)
    room = asyncio.Semaphore(IN_FLIGHT)

    async def submit() -> None:
        async with room:
            await client.submit(plan=plan, input={"data": {}})

    await asyncio.gather(*(submit() for _ in range(count)))
    while (await client.summary())["orders"].get("success", 0) < before + count:
        await asyncio.sleep(0.2)


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()
    compile, route = Prepared._compile, LocalBroker.route

    def note(*_: Any) -> None:
        counts["statements"] += 1

    def note_prepared(statement: Prepared, dialect: Any) -> Any:
        counts["statements"] += 1
        return compile(statement, dialect)

    def note_message(broker: LocalBroker, message: Message) -> None:
        counts["messages"] += 1
        counts["bytes"] += len(message.topic) + len(message.payload)
        route(broker, message)

    listen(Engine, "before_cursor_execute", note)
    try:
        with (
            patch.object(Prepared, "_compile", note_prepared),
            patch.object(LocalBroker, "route", note_message),
        ):
            yield counts
    finally:
        remove(Engine, "before_cursor_execute", note)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
