"""Every status, produced end to end by its true cause: a client, a real broker, a control plane and
a worker in processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.acceptance.test_statuses import ROWS
from tests.support.command import ROOT
from tests.support.fleets import Fleet, at, fleet, needs_mosquitto
from tests.support.helpers import job, workflow
from worker.core.status import STATUS_OF_REASON
from worker.fleet.messaging.messages import RunOptions
from worker.workflow.save import to_execution_plan

pytestmark = [needs_mosquitto, pytest.mark.xdist_group("fleet")]

INPUT = json.loads((ROOT / "graphs/aborts.input.json").read_text())
WAITS = "fn(state => new Promise(done => setTimeout(() => done(state), 60000)))"
POLICY = "projects: {small: {concurrent: 1}}"


def plan(source: str) -> dict[str, Any]:
    return to_execution_plan(workflow(job(source)))


def _concerns(run_id: str, alert: dict[str, Any]) -> bool:
    return bool(alert["run_id"] == run_id)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet of one worker, whose control plane stores the alerts that it sends."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "policy.yaml").write_text(POLICY)
    told = f"{sys.executable} -c \"import sys; open('{folder}/told', 'a').write(sys.stdin.read() + chr(10))\""
    with fleet(folder) as made:
        made.control("--policy", str(folder / "policy.yaml"), "--alert-command", told)
        made.worker("north", "--capacity", "2")
        yield made


OPTIONS = {
    "killed-oom-error": RunOptions(memory_mb=64),
    "killed-timeout-error": RunOptions(timeout_s=0.3),
    "killed-state-too-large-error": RunOptions(state_mb=1),
}


@pytest.mark.slow
async def test_each_error_type_gives_its_status(there: Fleet) -> None:
    async with at(there) as (client, listener):
        orders = {
            name: await client.submit(
                workflow=name, input=INPUT, options=OPTIONS.get(name, RunOptions())
            )
            for name, *_ in ROWS
        }
        for name, _, reason, type, _ in ROWS:
            run = await client.wait(orders[name]["last_run"])
            status = STATUS_OF_REASON[reason].value
            assert (run["status"], run["error_type"]) == (status, type), name
            assert (await client.order(orders[name]["order_id"]))["status"] == status
            assert listener.statuses(run["run_id"]) == ["pending", "running", status], name
            events = await client.events(run["run_id"])
            assert [one["seq"] for one in events] == list(range(len(events)))
            assert [one["type"] for one in events].count("run:complete") == 1


async def test_success(there: Fleet) -> None:
    async with at(there) as (client, listener):
        order = await client.submit(plan=plan("fn(state => ({data: 42}))"))
        assert order["status"] == "pending"
        run = await client.wait(order["last_run"])
        assert run["status"] == "success"
        assert listener.statuses(run["run_id"]) == ["pending", "running", "success"]
        last = (await client.events(run["run_id"], clips=True))[-1]
        assert last["final_state"] == {"data": 42}


async def test_running_then_cancelled(there: Fleet) -> None:
    async with at(there) as (client, listener):
        order = await client.submit(plan=plan(WAITS))
        run_id = order["last_run"]
        await listener.until(f"{run_id}/state", lambda state: state["status"] == "running")
        assert (await client.order(order["order_id"]))["status"] == "running"
        assert (await client.cancel(run_id))["status"] == "running"  # the worker has to confirm it
        run = await client.wait(run_id)
        assert (run["status"], run["error_type"]) == ("cancelled", "CancelledError")
        assert listener.statuses(run_id) == ["pending", "running", "cancelled"]


@pytest.mark.slow
async def test_rejected(there: Fleet) -> None:
    async with at(there) as (client, listener):
        first = await client.submit(plan=plan(WAITS), project="small")
        second = await client.submit(plan=plan(WAITS), project="small")
        assert (first["status"], second["status"]) == ("pending", "rejected")
        assert "its limit is 1" in second["reason"]
        assert second["runs"] == 0
        said = await listener.until(f"{second['order_id']}/state", lambda _: True)
        assert said["status"] == "rejected"
        await client.cancel(first["last_run"])
        await client.wait(first["last_run"])


@pytest.mark.slow
async def test_exception_is_alerted_once(there: Fleet) -> None:
    async with at(there) as (client, listener):
        order = await client.submit(workflow="exception-credential", input=INPUT)
        run = await client.wait(order["last_run"])
        assert run["status"] == "exception"
        alert = await listener.until("v1/alerts", lambda one: one["run_id"] == run["run_id"])
        assert alert["status"] == "exception"
        assert run["run_id"] in [one["run_id"] for one in await client.alerts()]
        await notified(there, run["run_id"])
    control = there.processes[0]
    critical = [one for one in control.log_entries() if one.get("run_id") == run["run_id"]]
    assert [(one["level"], one["event"]) for one in critical] == [("critical", "run.exception")]
    lines = (there.folder / "told").read_text().splitlines()
    assert [run["run_id"] in line for line in lines].count(True) == 1


async def notified(there: Fleet, run_id: str) -> None:
    """Wait until the alert command was run for a run."""
    file = there.folder / "told"
    async with asyncio.timeout(60):
        while not file.exists() or run_id not in file.read_text():
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_pending_then_cancelled_and_lost(there: Fleet) -> None:
    """The worker is killed in its second run: what waits stays pending until it is cancelled."""
    async with at(there) as (client, listener):
        going = [await client.submit(plan=plan(WAITS)) for _ in range(2)]
        for order in going:
            await listener.until(
                f"{order['last_run']}/state", lambda one: one["status"] == "running"
            )
        waiting = await client.submit(plan=plan(WAITS))
        assert (await client.run(waiting["last_run"]))["status"] == "pending"
        assert (await client.cancel(waiting["last_run"]))["status"] == "cancelled"
        await listener.until(
            f"{waiting['last_run']}/state", lambda state: state["status"] == "cancelled"
        )
        assert listener.statuses(waiting["last_run"]) == ["pending", "cancelled"]
        there.processes[1].send(signal.SIGKILL)
        for order in going:
            state = await listener.until(
                f"{order['last_run']}/state", lambda one: one["status"] == "lost"
            )
            assert state["error_type"] == "LostAfterStart"
            await listener.until("v1/alerts", partial(_concerns, order["last_run"]))
            await notified(there, order["last_run"])
            assert listener.statuses(order["last_run"]) == ["pending", "running", "lost"]
