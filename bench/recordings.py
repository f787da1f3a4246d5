"""CPU time that recording adds to a run: the sandbox does the same work with and without it."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import worker
from bench.replays import STEP, Service, three
from bench.table import row
from worker.adaptors.http.recording_host import RecordingHost
from worker.core.events import AnyEvent
from worker.replay.recorder import PreparedRecording, Recorder
from worker.runner.prepare import Options
from worker.sandbox.parent.host import HostCall

INPUT = {"data": {"patient": {"id": 7, "name": "x" * 900}}}
BATCHES, BATCH = 40, 25
CALL = HostCall(
    number=1,
    kind="http",
    text=json.dumps({"method": "GET", "url": "https://service.test/patients"}),
    step="s0",
    execution=0,
    now_us=1_772_352_000_000_000,
)


async def record(file: Path, prepared: PreparedRecording, events: Sequence[AnyEvent]) -> None:
    """Record the events of a run, with a request in its first step."""
    recorder = Recorder(file, prepared, INPUT, Service())
    for number, event in enumerate(events):
        if number == 2:
            await recorder.host.handle(CALL)
        recorder.receive(event)
    # The end of the turn, in which the events are written.
    await asyncio.sleep(0)
    recorder.close()


async def cpu_time_us(call: Callable[[int], Awaitable[object]]) -> float:
    """Return the median CPU time of a call, in microseconds."""
    times = []
    for batch in range(BATCHES):
        began = time.process_time()
        for number in range(BATCH):
            await call(batch * BATCH + number)
        times.append((time.process_time() - began) / BATCH)
    return statistics.median(times) * 1e6


async def measure(root: Path) -> None:
    workflow = three("common", STEP)
    events = (await worker.run_async(workflow, INPUT)).events
    prepared = PreparedRecording(workflow, Options())
    bare = RecordingHost(Service(), lambda exchange: None)

    async def unrecorded(number: int) -> None:
        # A run that is not recorded has an id too.
        str(uuid.uuid4())
        await bare.handle(CALL)
        await asyncio.sleep(0)

    without = await cpu_time_us(unrecorded)

    async def create(number: int) -> None:
        (root / f"{number}.empty").open("xb").close()

    # A file system can need many times as long for a new file where many were just deleted.
    created = await cpu_time_us(create)
    recorded = await cpu_time_us(lambda n: record(root / f"{n}.jsonl", prepared, events))
    row(
        "recording a run with one request, CPU",
        f"{(recorded - without) / 1000:.3f} ms",
        f"a new file alone: {created / 1000:.3f} ms; {len(events)} events; aim 0.15",
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder)))
