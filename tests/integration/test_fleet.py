"""Workers, control planes and brokers that come and go: nothing is lost, and nothing done twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.command import WORKER
from tests.support.databases import Postgres
from tests.support.fleets import Fleet, at, fleet, needs_mosquitto
from tests.support.helpers import job, workflow
from worker.fleet.control_errors import ControlError, NoAnswer
from worker.workflow.save import to_execution_plan

pytestmark = [needs_mosquitto, pytest.mark.slow, pytest.mark.xdist_group("fleet-2")]

QUICK = "fn(state => ({data: state.data}))"


def waits(seconds: float) -> str:
    return f"fn(state => new Promise(done => setTimeout(() => done(state), {seconds * 1000})))"


def plan(source: str) -> dict[str, Any]:
    return to_execution_plan(workflow(job(source)))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path) as found:
        yield found


async def online(listener: Any, name: str) -> None:
    await listener.until(f"workers/{name}/status", lambda one: one["online"])


async def test_a_worker_that_drains_finishes_its_runs(made: Fleet) -> None:
    made.control()
    worker = made.worker("north", "--capacity", "1")
    async with at(made) as (client, listener):
        going = await client.submit(plan=plan(waits(1)))
        await listener.until(f"{going['last_run']}/state", lambda one: one["status"] == "running")
        waiting = await client.submit(plan=plan(QUICK))
        worker.send(signal.SIGTERM)
        assert (await client.wait(going["last_run"]))["status"] == "success"
        assert await asyncio.to_thread(worker.process.wait, 60) == 0
        assert (await client.run(waiting["last_run"]))["status"] == "pending"
        made.worker("south")
        assert (await client.wait(waiting["last_run"]))["worker"] == "south"


async def test_reports_survive_the_death_of_the_worker(made: Fleet) -> None:
    """The run ends while no control plane is there; the worker dies; the next one reports it."""
    control = made.control("--lease", "30", "--disconnect-grace", "30")
    worker = made.worker("north")
    async with at(made) as (client, listener):
        order = await client.submit(plan=plan(waits(1)))
        await listener.until(f"{order['last_run']}/state", lambda one: one["status"] == "running")
        await started_in(made, order["last_run"])
        control.kill()
        box = await ended_in(made, order["last_run"])
        worker.kill()
        made.control("--lease", "30", "--disconnect-grace", "30", name="control-2")
        made.worker("north")
        assert (await client.wait(order["last_run"]))["status"] == "success"
        async with asyncio.timeout(60):
            while box.exists():
                await asyncio.sleep(0.02)


async def started_in(made: Fleet, run_id: str) -> Path:
    """Wait until a worker has written the first event of a run, and return its outbox's file.

    That is after the state is published.
    """
    box = made.folder / "outbox-north" / f"{run_id}.1.jsonl"
    async with asyncio.timeout(60):
        while not box.exists():
            await asyncio.sleep(0.02)
    return box


async def ended_in(made: Fleet, run_id: str) -> Path:
    """Wait until the end of a run is in its worker's outbox, and return its file there."""
    box = await started_in(made, run_id)
    async with asyncio.timeout(60):
        while '"run:complete"' not in box.read_text():
            await asyncio.sleep(0.02)
    return box


async def test_a_run_whose_worker_hangs_is_lost_and_its_report_comes_too_late(made: Fleet) -> None:
    made.control("--lease", "1.5", "--disconnect-grace", "1")
    worker = made.worker("north")
    async with at(made) as (client, listener):
        order = await client.submit(plan=plan(waits(0.5)))
        run_id = order["last_run"]
        await listener.until(f"{run_id}/events", lambda one: one["run_id"] == run_id)
        worker.send(signal.SIGSTOP)
        await listener.until(f"{run_id}/state", lambda one: one["status"] == "lost")
        worker.send(signal.SIGCONT)
        async with asyncio.timeout(60):
            while not (await client.run(run_id))["stale_reports"]:
                await asyncio.sleep(0.05)
        assert (await client.run(run_id))["status"] == "lost"
        assert listener.statuses(run_id) == ["pending", "running", "lost"]
        # What was refused is not said for ever: the worker goes on with the next run.
        again = await client.retry(run_id)
        assert (await client.wait(again["last_run"]))["status"] == "success"
        assert (await client.order(order["order_id"]))["status"] == "success"


async def test_work_goes_on_when_the_broker_comes_back(made: Fleet) -> None:
    made.control()
    made.worker("north", "--capacity", "4")
    async with at(made) as (client, _):
        orders = [await client.submit(plan=plan(waits(3))) for _ in range(4)]
        last = orders[-1]["last_run"]
        # Not its state, which is published before the worker has the answer that it may begin.
        await started_in(made, last)
        made.broker.kill()
        # It ends meanwhile, and nobody can be notified. The others may have ended before.
        await ended_in(made, last)
        made.broker.start()
        for one in orders:
            assert (await client.wait(one["last_run"]))["status"] == "success"


async def test_a_control_plane_that_comes_back_goes_on(made: Fleet) -> None:
    control = made.control()
    async with at(made) as (client, _):
        orders = [await client.submit(plan=plan(QUICK)) for _ in range(5)]
        control.kill()
        with pytest.raises(NoAnswer, match="no control plane answered within"):
            async with made.client(wait_s=0.5) as impatient:
                await impatient.summary()
        made.control(name="control-2")
        made.worker()
        for one in orders:
            assert (await client.wait(one["last_run"]))["status"] == "success"


async def test_the_log_has_entries_alone_when_the_whole_machine_stops(made: Fleet) -> None:
    processes = [made.control(), made.worker()]
    async with at(made) as (_, listener):
        for topic in ("workers/north/status", "control/status"):
            await listener.until(topic, lambda status: status["online"])
    made.broker.kill()
    for process in processes:
        process.send(signal.SIGTERM)
    for process in processes:
        process.process.wait(60)
        lines = process.log.read_text().splitlines()
        assert lines and [line for line in lines if not line.startswith("{")] == []
        assert len(process.log_entries()) == len(lines)


async def test_submitting_twice_makes_one_order(made: Fleet) -> None:
    made.control()
    async with at(made) as (client, _):
        first = await client.submit(plan=plan(QUICK), order_id="patient-123")
        second = await client.submit(plan=plan(QUICK), order_id="patient-123")
        assert first == second
        assert len(await client.orders()) == 1


async def test_a_retry_from_a_step_gets_the_input_that_it_had(made: Fleet) -> None:
    made.control()
    made.worker()
    steps = [
        job("fn(state => ({data: {n: state.data.n + 1}}))", next={"b": True}),
        job("fn(state => { if (state.data.n < 10) throw new Error('small'); return state })", "b"),
    ]
    async with at(made) as (client, _):
        order = await client.submit(
            plan=to_execution_plan(workflow(*steps)), input={"data": {"n": 1}}
        )
        assert (await client.wait(order["last_run"]))["status"] == "failed"
        again = await client.retry(order["order_id"], from_step="b")
        run = await client.wait(again["last_run"])
        assert [step["job_id"] for step in run["steps"]] == ["b"]
        events = await client.events(run["run_id"], clips=True)
        [step] = [one for one in events if one["type"] == "step:complete"]
        assert step["output_dataclip"]["data"] == {"n": 2}
        with pytest.raises(ControlError, match="did not run there"):
            await client.retry(order["order_id"], from_step="c")


async def test_a_cancelled_run_has_no_process_left(made: Fleet) -> None:
    made.control()
    worker = made.worker("north", "--capacity", "1")
    async with at(made) as (client, listener):
        order = await client.submit(plan=plan("fn(state => { while (true) {} })"))
        await listener.until(f"{order['last_run']}/events", lambda one: bool(one["events"]))
        before = descendants(worker.process.pid)
        await client.cancel(order["last_run"])
        assert (await client.wait(order["last_run"]))["status"] == "cancelled"
        # It was killed before it was told.
        assert len(set(before) - set(descendants(worker.process.pid))) == 1


def descendants(pid: int) -> list[int]:
    """The live processes below one."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/cmdline").read_bytes():
            found += [int(child), *descendants(int(child))]
    return found


async def test_the_commands_of_clients(made: Fleet) -> None:
    made.control()
    made.worker()
    done = await asyncio.to_thread(
        made.command, "submit", "graphs/referral.yaml", "--input", "graphs/referral.input.json",
        "--project", "north", "--order-id", "patient-7", "--wait",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "✓ success" in done.stdout and "notify-facility" in done.stdout
    done = await asyncio.to_thread(made.command, "orders", "--project", "north", "--json")
    [order] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (order["order_id"], order["status"]) == ("patient-7", "success")
    done = await asyncio.to_thread(made.command, "runs", "patient-7", "--json")
    [run] = [json.loads(line) for line in done.stdout.splitlines()]
    assert run["status"] == "success" and len(run["steps"]) == 4
    done = await asyncio.to_thread(made.command, "runs", "list", "--status", "success", "--json")
    assert run["run_id"] in [json.loads(line)["run_id"] for line in done.stdout.splitlines()]
    # A list may show the beginning of an id.
    talks = workflow(job("fn(s => { console.log('hello'); return s; })"))
    async with made.client() as client:
        order = await client.submit(plan=to_execution_plan(talks), order_id="talks")
        await client.wait(order["last_run"])
    done = await asyncio.to_thread(made.command, "runs", "tal", "--logs")
    assert (done.returncode, done.stdout) == (0, "a: [JOB] hello\n"), done.stderr
    done = await asyncio.to_thread(made.command, "runs", "patient", "--state")
    state = json.loads(done.stdout)
    assert state["priority"] == "urgent"
    async with made.client() as client:
        assert await client.final_state(run["run_id"]) == state
        last = run["steps"][-1]["output_dataclip_id"]
        assert (await client.dataclip(run["run_id"], last))["priority"] == "urgent"
    target = made.folder / "new" / "state.json"
    done = await asyncio.to_thread(
        made.command, "submit", "graphs/referral.yaml", "--input-of", "patient",
        "--wait", "--output", str(target),
    )  # fmt: skip
    assert done.returncode == 0 and json.loads(target.read_text()) == state
    done = await asyncio.to_thread(
        made.command, "retry", "patient-7", "--start-at", "fetch-patient", "--wait", "--json"
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (
        next(one["job_id"] for one in lines if one.get("type") == "step:start") == "fetch-patient"
    )
    assert lines[-1]["status"] == "success"
    done = await asyncio.to_thread(made.command, "cancel", "patient-7")
    assert done.returncode == 1
    assert done.stderr.startswith("error: run ") and "has ended already: success" in done.stderr
    done = await asyncio.to_thread(made.command, "submit", "--ref", "nowhere")
    assert done.returncode == 2 and "no workflow is named 'nowhere'" in done.stderr


async def test_figures_and_health_are_served_on_request(made: Fleet) -> None:
    import httpx

    from worker.fleet.messaging.broker import free_port

    first, second = free_port(), free_port()
    made.control("--metrics-listen", str(first))
    made.worker("north", "--metrics-listen", f"127.0.0.1:{second}")
    async with at(made) as (client, _), httpx.AsyncClient() as web:
        order = await client.submit(plan=plan(QUICK))
        await client.wait(order["last_run"])
        assert (await web.get(f"http://127.0.0.1:{first}/health")).text == "ok\n"
        text = (await web.get(f"http://127.0.0.1:{first}/metrics")).text
        assert 'worker_runs_ended_total{status="success"} 1.0' in text
        text = (await web.get(f"http://127.0.0.1:{second}/metrics")).text
        assert "worker_runs_finished_total 1.0" in text
        made.broker.kill()
        async with asyncio.timeout(60):
            while (await web.get(f"http://127.0.0.1:{second}/health")).status_code != 503:
                await asyncio.sleep(0.05)


async def test_a_second_worker_of_the_same_outbox_is_refused(made: Fleet) -> None:
    made.control()
    made.worker("north")
    async with at(made) as (_, listener):
        await online(listener, "north")
        second = made.worker("north")
        assert await asyncio.to_thread(second.process.wait, 60) == 2
        assert "is in use by another worker" in second.log.read_text()


async def test_the_broker_of_a_wheel_carries_a_fleet_too(tmp_path: Path) -> None:
    with fleet(tmp_path, kind="iotcore") as made:
        made.control()
        worker = made.worker("north", "--capacity", "2")
        async with at(made) as (client, listener):
            order = await client.submit(plan=plan(QUICK))
            assert (await client.wait(order["last_run"]))["status"] == "success"
            going = [await client.submit(plan=plan(waits(60))) for _ in range(2)]
            for one in going:
                await listener.until(
                    f"{one['last_run']}/state", lambda state: state["status"] == "running"
                )
            await client.cancel(going[0]["last_run"])
            assert (await client.wait(going[0]["last_run"]))["status"] == "cancelled"
            worker.kill()
            assert (await client.wait(going[1]["last_run"]))["status"] == "lost"


async def test_a_webhook_gets_the_alert(made: Fleet) -> None:
    told: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await told.put(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        made.control("--alert-webhook", f"http://127.0.0.1:{port}/alerts")
        made.worker()
        async with at(made) as (client, _):
            order = await client.submit(workflow="exception-credential", input={"data": {}})
            async with asyncio.timeout(60):
                alert = json.loads(await told.get())
            assert alert["run_id"] == order["last_run"]
            assert (alert["status"], alert["error_type"]) == ("exception", "CredentialError")


async def test_several_control_planes_share_one_queue(made: Fleet, postgres: Postgres) -> None:
    """Each message goes to one of them; one is killed in the middle."""
    url = postgres.empty()
    first = made.control("--shared", store=url, name="control-1")
    made.control("--shared", store=url, name="control-2")
    for name in ("north", "south"):
        made.worker(name, "--capacity", "2")
    async with at(made) as (client, listener):
        await listener.until("control/status", lambda one: one["online"])
        orders = [await client.submit(plan=plan(QUICK)) for _ in range(30)]
        first.kill()
        orders += [await client.submit(plan=plan(QUICK)) for _ in range(10)]
        for one in orders:
            assert (await client.wait(one["last_run"]))["status"] == "success"


async def test_a_rejected_order_ends_the_wait_for_its_run(made: Fleet) -> None:
    (made.folder / "policy.yaml").write_text("default: {concurrent: 0}")
    made.control("--policy", str(made.folder / "policy.yaml"))
    done = await asyncio.to_thread(made.command, "submit", "graphs/referral.yaml", "--wait")
    assert done.returncode == 7, done.stderr
    assert "rejected" in done.stdout and "its limit is 0" in done.stdout


def test_a_port_that_is_in_use_is_an_error(made: Fleet) -> None:
    done = made.alone("dev", "--port", str(made.broker.port))
    assert done.returncode == 71
    assert (
        done.stderr == f"error: cannot listen on port {made.broker.port}: it is in use "
        "(is another broker or worker dev running? try --port 0)\n"
    )


async def test_a_fleet_for_a_first_try_says_what_to_type_next(tmp_path: Path) -> None:
    (tmp_path / "hello.yaml").write_text(
        "workflow: {name: hello, steps: [{id: a, expression: 'export default [s => s]'}]}"
    )
    (tmp_path / "hello.input.json").write_text("{}")
    process = await asyncio.create_subprocess_exec(
        *WORKER, "dev", "--port", "0", "--dashboard-port", "0",
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "Ctrl-C" not in lines[-1]:
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            assert line, lines
            lines.append(line.decode().strip())
        assert "workflows: hello" in lines
        address = next(line.partition(": ")[2] for line in lines if line.startswith("dashboard: "))
        (command,) = [line for line in lines if line.startswith("worker submit")]
        assert "--ref hello --input hello.input.json --wait" in command
        done = await asyncio.to_thread(
            subprocess.run, [*WORKER, *command.split()[1:]], cwd=tmp_path, capture_output=True,
            text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        import httpx

        async with httpx.AsyncClient(follow_redirects=True) as visitor:
            assert "Overview" in (await visitor.get(address)).text
        # As Ctrl-C in a terminal does; the broker must outlive its clients.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 60)
        assert (process.returncode, errors) == (0, b"")
        url = urlsplit(next(line.split()[-1] for line in lines if line.startswith("broker ")))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((url.hostname, url.port)).close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        assert await process.wait() == 0
