"""Figures of a worker of Lightning, against the stand-in in a process of its own.

``python -m bench.lightning [RUNS]`` prints them.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import worker
from bench.runners import proportional_mb
from bench.table import quantile, row
from tests.support.lightning import job, plan
from worker.lightning.channels import ChannelSocket
from worker.lightning.claim_loop import Workloop
from worker.lightning.lightning_worker import LightningWorker, WorkerSettings
from worker.lightning.run_session import RunContext
from worker.lightning.run_store import RunStore
from worker.lightning.sandbox_runs import SandboxRuns
from worker.lightning.worker_tokens import read_public_key, worker_token
from worker.runner.pool import Pool
from worker.sinks.log import stderr_logger
from worker.testing.lightning import Server

STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"


class _TimedServer(Server):
    """Stand-in that notes when each run is joined and completed."""

    def __init__(self) -> None:
        super().__init__()
        self.joined_s: dict[str, float] = {}
        self.took_s: list[float] = []

    def _handle(self, client: Any, frame: Any) -> Any:
        response = super()._handle(client, frame)
        run_id = frame.topic.removeprefix("run:")
        if frame.event == "phx_join":
            self.joined_s[run_id] = time.perf_counter()
        elif frame.event == "run:complete":
            self.took_s.append(time.perf_counter() - self.joined_s[run_id])
        return response


def _serve(pipe: Connection, one_at_a_time: int, together: int) -> None:
    asyncio.run(_measure(pipe, one_at_a_time, together))


async def _measure(pipe: Connection, one_at_a_time: int, together: int) -> None:
    the_plan = plan(job(STEP), job(STEP))
    server = _TimedServer()
    async with server:
        pipe.send((server.url, server.secret, server.public_key))
        await server.wait_for(lambda: server.joined("worker:queue") > 0)
        for _ in range(one_at_a_time):
            run_id = server.add_run(the_plan, {"data": {}})
            await server.announce()
            await server.wait(run_id)
        alone_s = list(server.took_s)
        ids = [server.add_run(the_plan, {"data": {}}) for _ in range(together)]
        # Signed before: the figure is the worker's, and a signature costs the server 0.7 ms.
        for run_id in ids:
            server.runs[run_id].token = server.token(run_id)
        began = time.perf_counter()
        await server.announce()
        for run_id in ids:
            await server.wait(run_id)
        pipe.send((alone_s, together / (time.perf_counter() - began)))
        await asyncio.to_thread(pipe.recv)


def main(one_at_a_time: int = 100, together: int = 1000) -> None:
    """Print the time from join to completion, and the rate of one worker with four places."""
    asyncio.run(measure(one_at_a_time, together))


async def measure(one_at_a_time: int, together: int) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, one_at_a_time, together), daemon=True
    )
    process.start()
    url, secret, public_key = await asyncio.to_thread(ours.recv)
    log = stderr_logger(40)
    async with Pool(4) as pool:
        bare_s = await _bare_s(pool, one_at_a_time)
        socket = ChannelSocket(url, {"token": worker_token(secret, "bench")}, log)
        context = RunContext(
            socket=socket, sandbox=SandboxRuns(pool), store=RunStore(None), log=log
        )
        settings = WorkerSettings(
            name="bench",
            workloops=(Workloop(("manual", "*"), 4),),
            public_key=read_public_key(public_key),
        )
        task = asyncio.create_task(LightningWorker(settings, context).run())
        alone_s, rate = await asyncio.to_thread(ours.recv)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    ours.send(None)
    process.join(5)
    p50_ms, bare_ms = quantile(alone_s, 0.5) * 1000, quantile(bare_s, 0.5) * 1000
    row(
        "Lightning: join to completion, p50", f"{p50_ms:.1f} ms", f"run alone {bare_ms:.1f}; aim +5"
    )
    row("Lightning: one worker, capacity 4", f"{rate:.0f} runs/s", "2 steps each; aim 400")
    if sys.platform == "linux":
        row("Lightning: memory of an idle worker", f"{await _idle_mb():.0f} MB", "capacity 5")


async def _idle_mb() -> float:
    """Return the memory of a command that waits for runs, with all its processes."""
    async with Server() as server:
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker", "start", "--lightning", server.url, "--quiet",
            "--name", "bench-idle", env={**os.environ, "WORKER_SECRET": server.secret},
        )  # fmt: skip
        try:
            # After a run, as all that an idle worker holds is loaded by then.
            await server.wait(server.add_run(plan(job(STEP)), {"data": {}}))
            return sum(map(proportional_mb, _with_descendants(worker.pid)))
        finally:
            worker.terminate()
            await worker.wait()


def _with_descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _with_descendants(int(child)))]


async def _bare_s(pool: Pool, count: int) -> list[float]:
    workflow = worker.load(plan(job(STEP), job(STEP)))
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await pool.run(workflow, {"data": {}})
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main(together=int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
