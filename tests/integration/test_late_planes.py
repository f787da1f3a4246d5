"""A control plane whose connection to the broker is late: it takes no healthy run for lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.chaos_network import Proxy
from tests.support.fleets import at, fleet, needs_mosquitto
from tests.support.helpers import job, workflow
from worker.workflow.save import to_execution_plan

pytestmark = [pytest.mark.slow, needs_mosquitto]
GRACE_S = 0.5
WAITS = "fn(state => new Promise(done => setTimeout(() => done(state), 3000)))"


async def test_a_heartbeat_on_the_way_keeps_a_run(tmp_path: Path) -> None:
    with fleet(tmp_path) as made:
        async with Proxy(made.broker.port) as to_plane, Proxy(made.broker.port) as to_worker:
            grace = ("--lease", "2", "--disconnect-grace", str(GRACE_S))
            made.control(*grace, "--mqtt", f"mqtt://127.0.0.1:{to_plane.port}")
            made.worker("north", "--mqtt", f"mqtt://127.0.0.1:{to_worker.port}")
            async with at(made) as (client, listener):
                plan = to_execution_plan(workflow(job(WAITS)))
                # Leases last as long as the connection of the control plane is young.
                await client.submit(plan=plan, input={}, order_id="first")
                await listener.until("runs/first-1/state", lambda run: run["status"] == "success")
                await client.submit(plan=plan, input={}, order_id="order")
                await listener.until("runs/order-1/state", lambda run: run["status"] == "running")
                to_worker.cut()
                # The broker tells the control plane that the worker is gone ...
                await listener.until("workers/north/status", lambda status: not status["online"])
                late = asyncio.create_task(to_plane.delay(2 * GRACE_S))
                # ... and the heartbeat that follows arrives after the end of the grace.
                await listener.until("workers/north/beat", lambda beat: True)
                assert not late.done()
                await late
                assert (await client.wait("order"))["status"] == "success"
