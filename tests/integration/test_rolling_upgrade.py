"""A fleet under load whose control planes and workers are replaced one by one: nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.support.chaos import QUICK
from tests.support.chaos_effects import TOKEN, counting_effects
from tests.support.databases import Postgres
from tests.support.fleets import Fleet, FleetProcess, at, fleet, needs_mosquitto

pytestmark = [needs_mosquitto, pytest.mark.slow, pytest.mark.database]
ORDERS = 60


def start_worker(made: Fleet, name: str, url: str, number: int) -> FleetProcess:
    outbox = str(made.folder / f"outbox-{name}")
    where = ("--mqtt", made.url, "--outbox", outbox, "--collections", url, "--standby")
    process = FleetProcess(
        made.folder, f"{name}-{number}", "start", "--name", name, "--capacity", "2", *where,
        WORKER_COLLECTIONS_TOKEN=TOKEN,
    )  # fmt: skip
    made.processes.append(process)
    return process


async def test_a_rolling_upgrade_under_load_loses_nothing(
    tmp_path: Path, postgres: Postgres
) -> None:
    store = postgres.empty()
    with counting_effects() as effects, fleet(tmp_path) as made:
        planes = [made.control("--shared", store=store, name=f"control-{n}") for n in range(2)]
        workers = [start_worker(made, f"w{n}", effects.url, 1) for n in range(2)]
        async with at(made) as (client, _):
            orders: list[str] = []

            async def submit_all() -> None:
                for number in range(ORDERS):
                    input = {"data": {"order": f"o{number}"}}
                    order = await client.submit(plan=QUICK, input=input, order_id=f"o{number}")
                    orders.append(order["order_id"])
                    await asyncio.sleep(0.05)

            load = asyncio.create_task(submit_all())
            # Each is stopped as an operator would, and replaced; the others go on meanwhile.
            for number, plane in enumerate(planes):
                new = made.control("--shared", store=store, name=f"control-{number}-new")
                assert await asyncio.to_thread(plane.stop) == 0
                assert new.process.poll() is None
            for number, worker in enumerate(workers):
                assert await asyncio.to_thread(worker.stop) == 0
                start_worker(made, f"w{number}", effects.url, 2)
            await load
            statuses = Counter([(await client.wait(order))["status"] for order in orders])
        assert statuses == {"success": ORDERS}
        assert effects.counts == dict.fromkeys(orders, 1)
