"""Second signals: a process that takes long to end after the first one ends at once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.integration.test_fleet import plan, waits
from tests.support.fleets import FleetProcess, at, fleet, needs_mosquitto

pytestmark = [needs_mosquitto, pytest.mark.slow]


def send_both(process: FleetProcess) -> int:
    """Send two signals that arrive at the same moment, and return the exit code."""
    process.send(signal.SIGSTOP)
    process.send(signal.SIGTERM)
    process.send(signal.SIGINT)
    process.send(signal.SIGCONT)
    return process.process.wait(60)


async def test_a_second_signal_ends_a_worker_and_a_control_plane_at_once(tmp_path: Path) -> None:
    with fleet(tmp_path) as made:
        plane = made.control()
        worker = made.worker("north", "--capacity", "1")
        async with at(made) as (client, listener):
            order = await client.submit(plan=plan(waits(250)))
            run_id = order["last_run"]
            await listener.until(f"{run_id}/state", lambda state: state["status"] == "running")
            worker.send(signal.SIGTERM)
            await listener.until("workers/north/status", lambda status: status.get("draining"))
            assert worker.process.poll() is None, "the run goes on for minutes"
            worker.send(signal.SIGTERM)
            assert await asyncio.to_thread(worker.process.wait, 60) == 1
            assert (await client.wait(run_id))["status"] == "lost"

            other = made.worker("south")
            await listener.until("workers/south/status", lambda status: status["online"])
            assert await asyncio.to_thread(send_both, other) == 1
            assert await asyncio.to_thread(send_both, plane) == 1
        # Nothing was left half done: the next one has what was stored.
        made.control(name="next")
        async with made.client(wait_s=60) as client:
            assert (await client.run(run_id))["status"] == "lost"
