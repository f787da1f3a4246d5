"""What a worker of Lightning does when requests, replies, channels and connections are lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.lightning import Attached, attached, job, plan
from worker.lightning.channels import ChannelTimings
from worker.lightning.delivery import LogBatches
from worker.lightning.run_store import RunStore
from worker.runner.pool import Pool
from worker.testing.lightning import Fault, Refuse, Server, ServerRun

pytestmark = [
    pytest.mark.xdist_group("lightning"),
    pytest.mark.asyncio(loop_scope="module"),
]
EVENTS = ("phx_join", "fetch:plan", "fetch:dataclip", "fetch:credential", "run:start", "step:start",
          "run:log", "step:complete", "run:complete")  # fmt: skip
SLOW = "fn(s => new Promise(done => setTimeout(() => done(s), 300)))"
ENDLESS = "fn(s => { for (;;); })"


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[Server]:
    async with Server() as running:
        running.credentials["c"] = {"user": "u"}
        yield running


def two_steps() -> dict[str, Any]:
    body = "fn(s => { console.log('one'); console.log('two'); s.data.n = 1; return s; })"
    return plan(job(body, credential_id="c"), job("fn(s => s)"))


def check_complete(run: ServerRun, *, lines: tuple[int, ...] = (2,)) -> None:
    assert run.state == "success" and run.complete is not None
    assert [step["reason"] for step in run.steps.values()] == ["success", "success"]
    assert run.complete["final_state"] == {"data": {"n": 1}}
    assert len(run.lines) in lines and len(set(run.lines)) == len(run.lines)


def had_arrived(violation: str) -> bool:
    """Return whether it is the refusal of an event that had arrived before."""
    texts = ("already", "cannot start a run that is started", "has already been taken")
    return any(text in violation for text in texts)


@pytest.mark.parametrize("fault", [Fault.CUT_BEFORE, Fault.CUT_AFTER])
@pytest.mark.parametrize(
    "event",
    [
        event if event.endswith("complete") else pytest.param(event, marks=pytest.mark.slow)
        for event in EVENTS
    ],
)
async def test_connection_cut_at_an_event(
    server: Server, pool: Pool, event: str, fault: Fault
) -> None:
    run_id = server.add_run(two_steps(), {"data": {}})
    server.inject(event, fault, run_id=run_id)
    async with attached(server, pool) as worker:
        run = await server.wait(run_id)
        await worker.drained()
    # A line that was written when the connection broke is not sent again: it may be there already.
    check_complete(run, lines=(1, 2) if event == "run:log" else (2,))
    assert all(had_arrived(violation) for violation in server.violations)


@pytest.mark.parametrize("fault", [Fault.LOSE_REQUEST, Fault.LOSE_REPLY])
@pytest.mark.parametrize(
    "event", [pytest.param("step:start", marks=pytest.mark.slow), "step:complete", "run:complete"]
)
async def test_event_that_is_not_answered(
    server: Server, pool: Pool, event: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.lightning.event_sender.RETRY_S", 0.01)
    run_id = server.add_run(two_steps(), {"data": {}})
    server.inject(event, fault, run_id=run_id)
    server.keep_frames = True
    async with attached(server, pool) as worker:
        await received(server, event, run_id)
        worker.expire(event, run_id)
        run = await server.wait(run_id)
        await worker.drained()
    check_complete(run)
    assert all(had_arrived(violation) for violation in server.violations)


async def received(server: Server, event: str, run_id: str) -> None:
    """Wait until the server has received an event of a run, even if a fault loses it."""
    topic = f"run:{run_id}"
    await server.wait_for(
        lambda: any((frame.event, frame.topic) == (event, topic) for frame in server.frames)
    )


async def test_fetch_that_is_not_answered(server: Server, pool: Pool) -> None:
    no_plan, no_credential, good = (server.add_run(two_steps(), {"data": {}}) for _ in range(3))
    server.inject("fetch:plan", Fault.LOSE_REQUEST, run_id=no_plan)
    server.inject("fetch:credential", Fault.LOSE_REQUEST, run_id=no_credential)
    server.keep_frames = True
    async with attached(server, pool) as worker:
        for event, run_id in (("fetch:plan", no_plan), ("fetch:credential", no_credential)):
            await received(server, event, run_id)
            worker.expire(event, run_id)
        run = await server.wait(no_credential)
        await server.wait(good)
        await worker.drained()
    assert run.complete is not None and run.complete["error_type"] == "CredentialLoadError"
    assert server.runs[no_plan].state == "claimed" and "run.abandoned" in worker.log.names


@pytest.mark.parametrize("event", ["phx_join", "step:start", "step:complete", "run:complete"])
async def test_channel_crashes_and_is_joined_again(server: Server, pool: Pool, event: str) -> None:
    run_id = server.add_run(two_steps(), {"data": {}})
    server.inject(event, Fault.CRASH_CHANNEL, run_id=run_id)
    async with attached(server, pool) as worker:
        check_complete(await server.wait(run_id))
        await worker.drained()
    assert not server.violations


async def test_channel_that_the_server_closes_stops_the_run(server: Server, pool: Pool) -> None:
    run_id = server.add_run(plan(job(ENDLESS)), {"data": {}})
    async with attached(server, pool, capacity=1) as worker:
        await server.wait_for(lambda: bool(server.runs[run_id].steps))
        await server.close_channel(f"run:{run_id}")
        # The slot is free again, so the next run is claimed.
        await server.wait(server.add_run(plan(job("fn(s => s)")), {"data": {}}))
    assert server.runs[run_id].complete is None and "run.abandoned" in worker.log.names


async def test_server_that_lost_its_state_stops_the_runs(server: Server, pool: Pool) -> None:
    run_id = server.add_run(plan(job(ENDLESS)), {"data": {}})
    async with attached(server, pool, capacity=1) as worker:
        await server.wait_for(lambda: bool(server.runs[run_id].steps))
        await server.stop(forget=True)
        await server.start()
        await server.wait(server.add_run(plan(job("fn(s => s)")), {"data": {}}))
    assert "run.abandoned" in worker.log.names


async def test_server_restarts_with_its_state(server: Server, pool: Pool, tmp_path: Path) -> None:
    async with attached(server, pool) as worker:
        ids = [server.add_run(plan(job(SLOW), job("fn(s => s)")), {"data": {}}) for _ in range(2)]
        await server.wait_for(lambda: all(server.runs[id].steps for id in ids))
        await server.stop()
        await asyncio.sleep(0.4)
        await server.start()
        for run_id in ids:
            assert (await server.wait(run_id)).state == "success"
        await worker.drained()
    assert not [text for text in server.violations if not had_arrived(text)]


async def test_token_that_expires_while_the_server_is_away(
    server: Server, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives: list[asyncio.Timeout] = []
    timeout = asyncio.timeout

    def recorded(seconds: float | None) -> asyncio.Timeout:
        life = timeout(seconds)
        if seconds is not None and 5_000 < seconds <= 10_000:
            lives.append(life)
        return life

    monkeypatch.setattr(asyncio, "timeout", recorded)
    run_id = server.add_run(plan(job(ENDLESS)), {"data": {}})
    server.runs[run_id].token = server.token(run_id, exp=int(time.time()) + 10_000)
    async with attached(server, pool, capacity=1) as worker:
        await server.wait_for(lambda: bool(server.runs[run_id].steps))
        await server.stop()
        (life,) = lives
        assert worker.worker.running
        life.reschedule(asyncio.get_running_loop().time())
        await _until(lambda: worker.worker.running == 0)
    assert "run.abandoned" in worker.log.names


async def _until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def without_server(server: Server, run_id: str, outbox: Path) -> None:
    """Stop the server from the first step of a run until the run has ended."""
    await server.wait_for(lambda: bool(server.runs[run_id].steps))
    await server.stop()
    (file,) = outbox.glob("*.jsonl")
    await _until(lambda: "run:complete" in file.read_text())
    await server.start()


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["run:start", "step:start", "step:complete", "run:log"])
async def test_event_that_is_refused_does_not_end_the_run(
    server: Server, pool: Pool, event: str
) -> None:
    run_id = server.add_run(two_steps(), {"data": {}})
    server.inject(event, Refuse({"errors": {"x": ["is invalid"]}}), run_id=run_id)
    async with attached(server, pool) as worker:
        run = await server.wait(run_id)
        await worker.drained()
    assert run.complete is not None and run.complete["reason"] == "success"
    # What depends on the refused event leaves it out, so that it is not refused as well.
    assert all("step_id" in text or "state" in text for text in server.violations)


async def test_final_dataclip_that_never_arrived_is_left_out(server: Server, pool: Pool) -> None:
    run_id = server.add_run(plan(job("fn(s => s)")), {"data": {}})
    server.inject("step:complete", Refuse("no"), run_id=run_id)
    async with attached(server, pool):
        run = await server.wait(run_id)
    assert run.complete is not None and "final_dataclip_id" not in run.complete


async def test_end_that_is_refused_is_sent_without_its_state(server: Server, pool: Pool) -> None:
    run_id = server.add_run(plan(job("fn(s => s)")), {"data": {}})
    for _ in range(2):
        server.inject("run:complete", Refuse("no"), run_id=run_id)
    async with attached(server, pool) as worker:
        run = await server.wait(run_id)
        await worker.drained()
    assert run.complete is not None and run.state == "success"
    assert not {"final_state", "final_dataclip_id"} & run.complete.keys()


async def test_line_that_is_refused_does_not_take_its_batch_along(
    server: Server, pool: Pool, tmp_path: Path
) -> None:
    body = "fn(s => { for (let i = 0; i < 100; i++) console.log('line ' + i); return s; })"
    run_id = server.add_run(plan(job(SLOW), job(body)), {"data": {}})
    server.inject("run:batch_logs", Refuse("no"), run_id=run_id)
    async with attached(server, pool, batches=LogBatches(), outbox=tmp_path) as worker:
        # All lines are there before the first batch, which has more than one of them then.
        await without_server(server, run_id, tmp_path)
        run = await server.wait(run_id)
        await worker.drained()
    assert sorted(run.lines) == sorted(f"line {i}" for i in range(100))


# --- a worker that is started again ---------------------------------------------------------------


async def stopped_worker(server: Server, pool: Pool, outbox: Path, run_id: str) -> Attached:
    """Stop a worker while its run is under way, and the server away."""
    async with attached(server, pool, outbox=outbox) as worker:
        await server.wait_for(lambda: bool(server.runs[run_id].steps))
        await server.stop()
        await _until(lambda: not worker.worker.connected.is_set())
    await server.start()
    return worker


async def test_restarted_worker_ends_the_runs_of_the_one_before(
    server: Server, pool: Pool, tmp_path: Path
) -> None:
    run_id = server.add_run(plan(job(ENDLESS)), {"data": {}})
    await stopped_worker(server, pool, tmp_path, run_id)
    (file,) = tmp_path.glob("*.jsonl")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    async with attached(server, pool, outbox=tmp_path) as worker:
        run = await server.wait(run_id)
        await worker.drained()
    assert run.complete is not None and run.complete["error_type"] == "WorkerRestarted"
    assert [step["reason"] for step in run.steps.values()] == ["exception"]
    assert not list(tmp_path.glob("*.jsonl"))
    # The connection may have been lost with the reply to the start of the step.
    assert all(had_arrived(text) for text in server.violations)


async def test_restarted_worker_reports_a_run_that_had_ended(
    server: Server, pool: Pool, tmp_path: Path
) -> None:
    run_id = server.add_run(plan(job(SLOW), job("fn(s => s)")), {"data": {}})
    async with attached(server, pool, outbox=tmp_path):
        await server.wait_for(lambda: bool(server.runs[run_id].steps))
        await server.stop()
        (file,) = tmp_path.glob("*.jsonl")
        await _until(lambda: "run:complete" in file.read_text())
    await server.start()
    async with attached(server, pool, outbox=tmp_path) as worker:
        run = await server.wait(run_id)
        await worker.drained()
    assert run.state == "success" and len(run.steps) == 2
    assert all(had_arrived(text) for text in server.violations)


async def test_run_of_the_one_before_whose_token_has_expired(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.open("old", "t", time.time() - 1).close()
    (tmp_path / "torn.jsonl").write_text('{"run_id":')
    assert list(store.recover(time.time())) == [] and not list(tmp_path.glob("*.jsonl"))
    store.close()


async def test_half_a_line_at_the_end_of_a_file(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    file = store.open("r", "t", time.time() + 100)
    file.settle(0)
    file.close()
    with (tmp_path / "r.jsonl").open("a") as torn:
        torn.write(json.dumps({"event": "run:start", "payload": {}}) + '\n{"event":"run:co')
    (run,) = store.recover(time.time())
    assert [event.event for event in run.pending] == ["run:start"] and not run.is_complete
    store.close()


async def test_disk_that_cannot_be_written(server: Server, pool: Pool, tmp_path: Path) -> None:
    async with attached(server, pool, outbox=tmp_path) as worker:
        await _until(lambda: server.joined("worker:queue"))
        run_id = server.add_run(two_steps(), {"data": {}})
        # A folder in the place of the file: root can write anywhere else.
        (tmp_path / f"{run_id}.jsonl").mkdir()
        await server.announce()
        check_complete(await server.wait(run_id))
        await worker.drained()
    assert "outbox.unwritable" in worker.log.names


# --- floods and many runs -------------------------------------------------------------------------


async def test_flood_of_lines_while_the_server_is_away(
    server: Server, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.lightning.event_sender.MAX_WAITING_BYTES", 20_000)
    body = "fn(s => { for (let i = 0; i < 2000; i++) console.log('x'.repeat(100)); return s; })"
    run_id = server.add_run(plan(job(SLOW), job(body)), {"data": {}})
    async with attached(server, pool, outbox=tmp_path) as worker:
        await without_server(server, run_id, tmp_path)
        run = await server.wait(run_id)
        await worker.drained()
    assert run.state == "success" and len(run.lines) < 200 and "log.dropped" in worker.log.names


@pytest.mark.slow
async def test_heartbeat_that_is_not_answered_reconnects(server: Server, pool: Pool) -> None:
    timings = ChannelTimings(reply_s=1, heartbeat_s=0.05, reconnect_s=0.02, rejoin_s=(0.02,))
    server.inject("heartbeat", Fault.LOSE_REQUEST)
    async with attached(server, pool, timings=timings) as worker:
        await _until(lambda: worker.log.names.count("lightning.connected") >= 2)
        await server.wait(server.add_run(two_steps(), {"data": {}}))
        await worker.drained()


async def many_runs(server: Server, pools: list[Pool], count: int, seed: int) -> None:
    server.credentials["c"] = {"user": "u"}
    chance = random.Random(seed)
    faults = (Fault.CUT_BEFORE, Fault.CUT_AFTER, Fault.CRASH_CHANNEL)
    ids = [server.add_run(two_steps(), {"data": {}}) for _ in range(count)]
    for run_id in chance.sample(ids, count // 10):
        server.inject(chance.choice(EVENTS), chance.choice(faults), run_id=run_id)
    async with contextlib.AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(attached(server, pool, name=f"w{n}"))
            for n, pool in enumerate(pools)
        ]
        for run_id in ids:
            await server.wait(run_id, 120)
        await asyncio.gather(*(worker.drained() for worker in workers))
    for run_id in ids:
        check_complete(server.runs[run_id], lines=(1, 2))
    assert not [text for text in server.violations if not had_arrived(text)]


@pytest.mark.slow
async def test_claim_that_is_not_answered_is_claimed_again(pool: Pool) -> None:
    async with Server(requeue_s=0.2) as server:
        server.credentials["c"] = {"user": "u"}
        run_id = server.add_run(two_steps(), {"data": {}})
        server.inject("claim", Fault.CUT_AFTER)
        async with attached(server, pool) as worker:
            run = await server.wait(run_id)
            await worker.drained()
        check_complete(run)
        assert "claim.lost" in worker.log.names


@pytest.mark.slow
async def test_many_runs_over_two_workers_with_cuts(pool: Pool) -> None:
    async with Server(requeue_s=5) as server:
        await many_runs(server, [pool, pool], 30, seed=1)


@pytest.mark.slow
async def test_many_runs_over_four_workers_with_cuts(pool: Pool) -> None:
    async with Server(requeue_s=5) as server:
        await many_runs(
            server,
            [pool] * 4,
            int(os.environ.get("RUNS", "40")),
            seed=int(os.environ.get("SEED", "2")),
        )
