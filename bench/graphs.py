"""What long graphs cost, and how that grows."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import worker
from bench.table import row
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.sandbox.limits import Limits

LONG_RUN = Options(limits=Limits(timeout_s=300))
STEP = "fn(state => { state.data.count = (state.data.count || 0) + 1; return state; });"


def main() -> None:
    """Print the time of chains and stars."""
    asyncio.run(graphs())


async def graphs() -> None:
    """Print what long graphs cost, and how that grows."""
    async with Pool(size=1) as pool:
        await pool.run(chain(3), {})
        for name, make in (("chain", chain), ("star", star)):
            small, large = make(5_000), make(100_000)
            short, long = [await run_s(pool, graph) for graph in (small, large)]
            row(f"5,000-step {name}", f"{short:.2f} s", "aim 0.4; OpenFn 22.6 / 29.7")
            row(
                f"100,000-step {name}",
                f"{long:.1f} s",
                f"aim 10; {long / short:.1f} x for 20 x the steps (aim 11 x for 10 x)",
            )


async def run_s(pool: Pool, graph: worker.Workflow) -> float:
    """Return the seconds that a run takes."""
    began = time.perf_counter()
    result = await pool.run(graph, {}, LONG_RUN)
    assert result.status == "success", result.error
    return time.perf_counter() - began


def chain(length: int, source: str = STEP) -> worker.Workflow:
    steps: list[dict[str, Any]] = [
        {"id": f"s{i}", "adaptor": "common", "expression": source, "next": {f"s{i + 1}": True}}
        for i in range(length)
    ]
    del steps[-1]["next"]
    return worker.load({"workflow": {"name": "chain", "steps": steps}})


def star(rays: int) -> worker.Workflow:
    job = {"adaptor": "common", "expression": STEP}
    hub: dict[str, Any] = {"id": "hub", **job, "next": {f"s{i}": True for i in range(rays)}}
    leaves = [{"id": f"s{i}", **job} for i in range(rays)]
    return worker.load({"workflow": {"name": "star", "steps": [hub, *leaves]}})
