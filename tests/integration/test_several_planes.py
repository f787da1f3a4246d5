"""Several control planes of one PostgreSQL database, as processes: one that hangs loses nothing."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.databases import Postgres
from tests.support.fleets import at, fleet, needs_mosquitto
from tests.support.helpers import job, workflow
from worker.workflow.save import to_execution_plan

pytestmark = [needs_mosquitto, pytest.mark.slow]
RUNS, HANGS_S = 8, 15
LONG = to_execution_plan(
    workflow(
        job(f"fn(s => new Promise(done => setTimeout(() => done(s), {(HANGS_S + 3) * 1000})))")
    )
)


async def test_a_control_plane_that_hangs_loses_no_run(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.empty()
    with fleet(tmp_path) as made:
        planes = [made.control("--shared", store=url, name=f"control-{n}") for n in range(2)]
        made.worker("north", "--capacity", str(RUNS))
        async with at(made) as (client, listener):
            orders = [await client.submit(plan=LONG, input={}) for _ in range(RUNS)]
            for order in orders:
                run_id = order["last_run"]
                await listener.until(f"runs/{run_id}/state", lambda run: run["status"] == "running")
            planes[0].send(signal.SIGSTOP)
            await asyncio.sleep(HANGS_S)
            planes[0].send(signal.SIGCONT)
            runs = [await client.wait(order["last_run"]) for order in orders]
            assert Counter(run["status"] for run in runs) == {"success": RUNS}
            assert {run["attempt"] for run in runs} == {1}
            for order in orders:
                states = listener.messages(f"runs/{order['last_run']}/state")
                newest = max(states, key=lambda state: state["revision"])
                assert newest["status"] == "success"
                assert states[-1]["status"] == "success", "what the broker retains"
