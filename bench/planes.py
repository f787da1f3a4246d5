"""Time of PostgreSQL for a run with one, two and three control planes that share the work.

`python -m bench.planes` measures this alone. It needs mosquitto and PostgreSQL.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from bench.capacity import STEP, spent_s
from bench.fleet import Started, plan_of
from bench.table import row
from worker.fleet.client import Client
from worker.fleet.connect import connect
from worker.fleet.messaging.broker import Broker

PLANES = (1, 2, 3)
RUNS = 400
WORKERS, SLOTS = 2, 4
# PostgreSQL adds a session's times to those of its database after a pause.
STATISTICS_PAUSE_S = 2.0


def main(runs: int = RUNS) -> None:
    """Measure the same runs with each number of control planes."""
    from tests.support.databases import Postgres, postgres_binaries

    binaries = postgres_binaries()
    if binaries is None:
        row("database time of a run with several planes", "-", "needs PostgreSQL")
        return
    measured = []
    for planes in PLANES:
        with (
            tempfile.TemporaryDirectory() as folder,
            Broker(kind="mosquitto") as broker,
            Postgres(binaries) as postgres,
        ):
            measured.append(
                asyncio.run(_measure(Path(folder), broker, postgres, planes=planes, runs=runs))
            )
    sessions, processors, rates = zip(*measured, strict=True)
    row(
        "database time a run with 1, 2, 3 planes",
        " / ".join(f"{each:.2f}" for each in sessions) + " ms",
        f"aim 0.5 ms, flat within 1.5 x; {max(sessions) / sessions[0]:.2f} x",
    )
    row(
        "… processor time of the database",
        " / ".join(f"{each:.2f}" for each in processors) + " ms",
        "runs a second: " + " / ".join(f"{each:.0f}" for each in rates),
    )


async def _measure(
    folder: Path, broker: Broker, postgres: Any, *, planes: int, runs: int
) -> tuple[float, float, float]:
    """Return the milliseconds of sessions and of processors for a run, and runs a second."""
    started = Started(folder, broker.url)
    url = postgres.empty()
    try:
        for number in range(planes):
            started.start(f"control{number}", "control-plane", "--shared", "--store", url)
        for number in range(WORKERS):
            started.worker(f"w{number}", SLOTS)
        async with connect(broker.url, wait_s=60) as client:
            while (await client.summary())["workers"] < WORKERS:
                await asyncio.sleep(0.05)
            await _execute(client, 50)
            pids = {"database": postgres._process.pid}
            await asyncio.sleep(STATISTICS_PAUSE_S)
            before, sessions_before = spent_s(pids), _active_ms(url)
            began = time.perf_counter()
            await _execute(client, runs)
            took_s = time.perf_counter() - began
            after = spent_s(pids)
            await asyncio.sleep(STATISTICS_PAUSE_S)
            active_ms = _active_ms(url) - sessions_before
        processor_ms = (after["database"] - before["database"]) * 1000
        return active_ms / runs, processor_ms / runs, runs / took_s
    finally:
        started.close()


async def _execute(client: Client, count: int) -> None:
    plan = plan_of(STEP, STEP, STEP)
    room = asyncio.Semaphore(40)

    async def execute() -> None:
        async with room:
            order = await client.submit(plan=plan, input={"data": {}})
            await client.wait(order["last_run"])

    await asyncio.gather(*(execute() for _ in range(count)))


def _active_ms(url: str) -> float:
    """Return the time that sessions have executed statements for."""
    with psycopg.connect(url) as connection:
        query = "SELECT active_time FROM pg_stat_database WHERE datname = current_database()"
        times = connection.execute(query).fetchone()
    return float(times[0]) if times else 0.0


if __name__ == "__main__":
    main()
