"""Processor time and storage of one run, by the part of a fleet: what one core of each carries.

`python -m bench.capacity` measures this alone. The figures are the constants of
`worker simulate --rate`. It needs mosquitto and PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from bench.fleet import Started, plan_of
from bench.table import row
from worker.fleet.client import Client
from worker.fleet.connect import connect
from worker.fleet.messaging.broker import Broker

STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"
SIZES_BYTES = (100, 20_000)
RUNS = 100


def main(runs: int = RUNS) -> None:
    """Measure runs with a small and with a large state."""
    from tests.support.databases import Postgres, postgres_binaries

    binaries = postgres_binaries()
    if binaries is None:
        row("capacity of a fleet's parts", "-", "needs PostgreSQL and mosquitto")
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        Broker(kind="mosquitto") as broker,
        Postgres(binaries) as postgres,
    ):
        asyncio.run(_measure(Path(folder), broker, postgres, runs))


async def _measure(folder: Path, broker: Broker, postgres: Any, runs: int) -> None:
    started = Started(folder, broker.url)
    url = postgres.empty()
    try:
        control = started.start("control", "control-plane", "--store", url)
        executing = started.worker("w0", 2)
        pids = {"broker": broker.pid, "plane": control.pid, "worker": executing.pid}
        pids |= {"database": postgres._process.pid, "client": os.getpid()}
        async with connect(broker.url, wait_s=60) as client:
            while (await client.summary())["workers"] < 1:
                await asyncio.sleep(0.05)
            await _runs(client, 50, 100)
            for size_bytes in SIZES_BYTES:
                before, size_before = spent_s(pids), _database_bytes(url)
                await _runs(client, runs, size_bytes)
                after, size_after = spent_s(pids), _database_bytes(url)
                times = ", ".join(
                    f"{part} {(after[part] - before[part]) / runs * 1000:.2f}" for part in pids
                )
                row(
                    f"a run with states of {size_bytes:,} bytes",
                    f"{(size_after - size_before) / runs / 1000:.1f} kB",
                    f"ms of processor time: {times}",
                )
    finally:
        started.close()


async def _runs(client: Client, count: int, size_bytes: int) -> None:
    plan = plan_of(STEP, STEP, STEP)
    before = (await client.summary())["orders"].get("success", 0)
    room = asyncio.Semaphore(40)

    async def submit() -> None:
        async with room:
            await client.submit(plan=plan, input={"data": {"text": "x" * size_bytes}})

    await asyncio.gather(*(submit() for _ in range(count)))
    while (await client.summary())["orders"].get("success", 0) < before + count:
        await asyncio.sleep(1.0)


def spent_s(pids: dict[str, int]) -> dict[str, float]:
    """Return the processor seconds of each part, with the processes that it has started."""
    import psutil

    spent = {}
    for part, pid in pids.items():
        process = psutil.Process(pid)
        family = [process] if part == "client" else [process, *process.children(recursive=True)]
        spent[part] = sum(sum(member.cpu_times()[:4]) for member in family)
    return spent


def _database_bytes(url: str) -> int:
    import psycopg

    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(found[0]) if found else 0


if __name__ == "__main__":
    main()
