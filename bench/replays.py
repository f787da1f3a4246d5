"""Costs of real adaptors, recordings and replays. Needs Node and npm for the adaptor, once."""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import worker
from bench.caches import own_cache
from bench.table import row
from worker.adaptors.http.exchange import HttpReply, HttpRequest
from worker.cli.replay import REPLAY_S, ReplayWork
from worker.replay.recorder import PreparedRecording, Recorder
from worker.replay.replayer import ReplayPart
from worker.runner.parallel import results_in_order
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.sandbox.parent.host import HostCall

HTTP = "@openfn/language-http@7.2.10"
STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"
REQUEST = "get('https://service.test/patients');"


class Service:
    """Answers at once: what is measured is ours."""

    async def send(self, request: HttpRequest, call: HostCall) -> HttpReply:
        headers = (("content-type", "application/json"),)
        return HttpReply(status=200, headers=headers, body=b'{"items":[1,2,3]}')

    async def close(self) -> None: ...


def three(adaptor: str, first: str = STEP) -> worker.Workflow:
    """Three steps with an adaptor."""
    steps: list[dict[str, Any]] = [
        {"id": f"s{n}", "adaptor": adaptor, "expression": first if n == 0 else STEP}
        for n in range(3)
    ]
    for n in range(2):
        steps[n]["next"] = {f"s{n + 1}": True}
    return worker.load({"workflow": {"name": "three", "steps": steps}})


async def latency(run: Callable[[], Any], count: int = 200) -> float:
    """The median of a run, in milliseconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        result = await run()
        times.append(time.perf_counter() - began)
        assert result.status == "success", result.error
    return statistics.median(times) * 1000


async def recorded(
    pool: Pool, file: Path, workflow: worker.Workflow, prepared: PreparedRecording
) -> Any:
    """One run, recorded."""
    recorder = Recorder(file, prepared, {"data": {}}, Service())
    try:
        return await pool.run(
            workflow,
            {"data": {}},
            prepared.options,
            sinks=[recorder],
            host=recorder.host,
            run_id=recorder.run_id,
        )
    finally:
        recorder.close()


async def measure(root: Path) -> None:
    """Print the figures."""
    async with Pool(size=2) as pool:
        plain, real = three("common"), three(HTTP)
        await pool.run(plain, {"data": {}})
        await pool.run(real, {"data": {}})
        without = await latency(lambda: pool.run(plain, {"data": {}}))
        with_it = await latency(lambda: pool.run(real, {"data": {}}))
        row(
            "warm run with the real http adaptor",
            f"{with_it:.1f} ms",
            f"without: {without:.1f} ms; {with_it / without:.2f} x (aim 1.2)",
        )
        asking = three(HTTP, REQUEST)
        from worker.adaptors.http.recording_host import RecordingHost

        bare = RecordingHost(Service(), lambda exchange: None)
        unrecorded = await latency(lambda: pool.run(asking, {"data": {}}, host=bare))
        count = iter(range(100_000))
        prepared = PreparedRecording(asking, Options())
        kept = await latency(lambda: recorded(pool, root / f"r{next(count)}", asking, prepared))
        row(
            "recording overhead of a run with a request",
            f"{(kept / unrecorded - 1) * 100:+.0f} %",
            f"{unrecorded:.1f} to {kept:.1f} ms; aim 10 %",
        )
        runs = [root / f"r{number}" for number in range(200)]
        await replays([*runs] * 5)
        state = {"data": {"rows": [{"id": n, "text": "x" * 90} for n in range(100_000)]}}
        began = time.perf_counter()
        assert (await pool.run(plain, state)).status == "success"
        size = len(json.dumps(state)) / 2**20
        row(
            "a 3-step run over a large state",
            f"{time.perf_counter() - began:.2f} s",
            f"{size:.0f} MB",
        )


async def replays(folders: list[Path]) -> None:
    """Replay as `worker replay` does, in one process and in two."""
    rates = {jobs: await replay_rate(folders, jobs) for jobs in (1, 2)}
    row(
        "replays, two workers",
        f"{rates[2]:.0f} /s",
        f"{len(folders):,} recordings; in turn {rates[1]:.0f}; {rates[2] / rates[1]:.1f} x; aim 700",
    )


async def replay_rate(folders: list[Path], jobs: int) -> float:
    work = ReplayWork(workflow=None, part=ReplayPart(), as_json=False, alone=False)
    began = time.perf_counter()
    async with aclosing(results_in_order(work, folders, jobs, REPLAY_S * len(folders))) as reports:
        assert all([report.kind == "same" async for report in reports])
    return len(folders) / (time.perf_counter() - began)


def main() -> None:
    """Install the adaptor into a cache of our own, and measure."""
    if shutil.which("npm") is None:
        row("real adaptors and replays", "-", "needs Node and npm")
        return
    with own_cache(), tempfile.TemporaryDirectory() as folder:
        script = str(Path(sys.executable).parent / "worker")
        subprocess.run(
            [script, "adaptors", "install", HTTP], check=True, capture_output=True, cwd=folder
        )
        asyncio.run(measure(Path(folder)))
