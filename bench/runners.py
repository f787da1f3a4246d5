"""Figures of the runners: what a run costs, how limits hold, and what memory does over many runs.

``python -m bench.runners [RUNS]`` prints them. The ratio to bare forkers comes from the same minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import worker
from bench.table import quantile, row
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.sandbox.limits import Limits

MIB = 2**20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"
INPUT = {"data": {"patient": {"id": 7, "name": "x" * 900}}}

HOGS = {
    "objects": "const a = []; for (;;) a.push({ n: a.length });",
    "strings": "const a = []; for (;;) a.push('x'.repeat(1e6) + a.length);",
    "buffers": "const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1));",
    "regex": "/^(?:a|b|ab)*?$/.exec('ab'.repeat(4e7) + 'c');",
}

# Forks a small process for each run, as a server without runners would; the engine is native.
FORKER = """
import json, os, sys
import _quickjs
state = sys.argv[1]
job = "(s) => { const state = JSON.parse(s); state.data.count = (state.data.count || 0) + 1; return JSON.stringify(state); }"
for _ in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        text = state
        step = _quickjs.Context().eval(job)
        for _ in range(3):
            text = step(text)
        os._exit(0)
    os.waitpid(pid, 0)
"""


class Sink:
    """Receives every event, and counts them."""

    def __init__(self) -> None:
        self.events = 0

    def receive(self, event: object) -> None:
        self.events += 1

    def close(self) -> None: ...


def workflow(*sources: str) -> worker.Workflow:
    steps: list[dict[str, Any]] = [
        {"id": f"s{i}", "adaptor": "common", "expression": source, "next": {f"s{i + 1}": True}}
        for i, source in enumerate(sources)
    ]
    del steps[-1]["next"]
    return worker.load({"workflow": {"name": "steps", "steps": steps}})


def runners_of(pool: Pool) -> list[int]:
    pid = pool.zygote_pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def proportional_mb(pid: int) -> float:
    """Return the memory of a process; what several maps share counts in proportion."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def mapped_images(pid: int) -> list[str]:
    """Return the hashes of all that a process has mapped of images: its instance's memory too.

    Root alone may read it.
    """
    hashes = []
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if "/image-" in line:
                start, end = (int(number, 16) for number in line.split()[0].split("-"))
                memory.seek(start)
                hashes.append(hashlib.sha256(memory.read(end - start)).hexdigest())
    return sorted(hashes)


async def many(pool: Pool, flow: worker.Workflow, count: int, at_once: int) -> float:
    """Return the seconds that so many runs take."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            result = await pool.run(flow, INPUT, sinks=[Sink()], cancel=asyncio.Event())
            assert result.status == "success", result.error

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return time.perf_counter() - began


def forkers(count: int) -> float:
    """Return the runs a second of two processes that fork for each run."""
    line = [sys.executable, "-c", FORKER, json.dumps(INPUT), str(count)]
    began = time.perf_counter()
    processes = [subprocess.Popen(line) for _ in range(2)]
    assert not any(process.wait() for process in processes)
    return 2 * count / (time.perf_counter() - began)


async def throughput(count: int) -> None:
    flow = workflow(STEP, STEP, STEP)
    async with Pool(size=2) as pool:
        await many(pool, flow, 100, 2)
        pids = runners_of(pool)
        before, parent = sum(map(processor_s, pids)), time.process_time()
        rate = count / await many(pool, flow, count, 2)
        parent = (time.process_time() - parent) / count * 1e6
        children = (sum(map(processor_s, pids)) - before) / count * 1e6
        compared = await asyncio.to_thread(forkers, max(100, count // 4))
        row(
            "3-step runs, two at once",
            f"{rate:.0f} /s",
            f"{rate / compared:.2f} x two bare forkers ({compared:.0f} /s); aim 2,000, 1.6 x; OpenFn 2.15",
        )
        row(
            "processor time of a run",
            f"{parent + children:.0f} us",
            f"parent {parent:.0f}, runner {children:.0f}",
        )
        times = [await many(pool, flow, 1, 1) * 1000 for _ in range(500)]
        p50, p99 = quantile(times, 0.5), quantile(times, 0.99)
        row("warm latency, p50 / p99", f"{p50:.2f} / {p99:.2f} ms", "aim 0.7 / 1.5; OpenFn 618")


async def limits(count: int = 300) -> None:
    async with Pool(size=1) as pool:
        flow, options = workflow("fn(s => { for (;;); });"), Options(limits=Limits(timeout_s=0.1))
        results = [await pool.run(flow, {}, options) for _ in range(count)]
        assert {result.error_type for result in results} == {"TimeoutError"}
        late = [(result.duration / 1e6 - 0.1) * 1000 for result in results]
        (pid,) = runners_of(pool)
        row(
            "timeout overshoot, p50 / p99",
            f"{quantile(late, 0.5):.1f} / {quantile(late, 0.99):.1f} ms",
            "aim p99 2; the process lives on",
        )
        await many(pool, workflow(STEP), 20, 1)
        options = Options(limits=Limits(memory_mb=128))
        for name, hog in HOGS.items():
            for form in ("{}", "try {{ {} }} catch {{}}"):
                await many(pool, workflow(STEP), 5, 1)
                (pid,) = runners_of(pool)
                # Linux starts to count the peak anew.
                Path(f"/proc/{pid}/clear_refs").write_text("5")
                idle, began = resident_mb(pid), time.perf_counter()
                result = await pool.run(
                    workflow(f"fn(s => {{ {form.format(hog)} return s; }});"), {}, options
                )
                took = time.perf_counter() - began
                assert result.error_type == "OomError", (name, form, result.error)
                peak = (
                    int(
                        next(
                            line
                            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                            if line.startswith("VmHWM")
                        ).split()[1]
                    )
                    / 1024
                )
                kind = f"{name}, caught" if "try" in form else name
                row(
                    f"out of memory at 128 MB: {kind}",
                    f"{took:.2f} s",
                    f"runner {peak - idle:+.0f} MB over idle at its peak; aim 0.3 s, +144 MB",
                )


async def memory(count: int) -> None:
    async with Pool(size=1) as pool:
        flow = workflow(STEP, STEP, STEP)
        await many(pool, flow, 2000, 1)
        (pid,) = runners_of(pool)
        resident = resident_mb(pid)
        # Before the growth is measured: what is read becomes resident.
        images = mapped_images(pid) if os.getuid() == 0 else []
        before = resident_mb(pid)
        await many(pool, flow, count, 1)
        assert runners_of(pool) == [pid]
        row(
            f"{count:,} runs on one runner",
            f"{resident_mb(pid) - before:+.1f} MB",
            f"resident {resident:.0f} MB",
        )
        if images:
            # The runner removes a run after it has sent the run's last event.
            await asyncio.sleep(0.2)
            same = mapped_images(pid) == images
            row("... its restored memory", "identical" if same else "DIFFERENT", "aim identical")
        resident, proportional = resident_mb(pid), proportional_mb(pid)
        for number in range(50):
            await many(pool, workflow(f"fn(s => ({{ ...s, n: {number} }}));"), 1, 1)
        row(
            "a further workflow in the runner",
            f"{(proportional_mb(pid) - proportional) / 50:.2f} MB",
            f"50 workflows of one step; aim 2; with pages of the shared file, counted again in "
            f"each map, {(resident_mb(pid) - resident) / 50:.2f} MB",
        )
    async with Pool(size=1) as pool:
        await many(pool, flow, 1, 1)
        (pid,) = runners_of(pool)
        row(
            "idle runner, resident",
            f"{resident_mb(pid):.0f} MB",
            f"{proportional_mb(pid):.0f} MB in proportion to who shares it; aim 45; OpenFn 95 to 132",
        )


def main(count: int = 2000) -> None:
    """Print all figures of the runners."""
    asyncio.run(measure(count))


async def measure(count: int) -> None:
    await throughput(count)
    await limits()
    await memory(10 * count)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
