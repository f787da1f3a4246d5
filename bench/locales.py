"""Figures of locales: agreement with Node, and what a run with locale data costs.

``python -m bench.locales`` prints them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections import Counter
from pathlib import Path

import worker
from bench.caches import own_cache
from bench.table import row
from tests.support.locale_agreement import answer, expressions
from worker.engine.instance import Instance
from worker.engine.prepared_files import default_folder
from worker.engine.shared import runtime
from worker.runner.pool import Pool
from worker.sandbox.javascript.engine import image_with, realm_image
from worker.sandbox.protocol import INTL_LIBRARIES, RealmContents

MIB = 2**20

PLAIN = "fn(s => ({ ...s, at: new Date(0).toISOString().slice(0, 10) }));"
NAMED = "fn(s => ({ ...s, at: new Date(0).toISOString().slice(0, 10), intl: typeof Intl }));"
FORMATS = (
    "fn(s => ({ ...s, at: new Date(0).toLocaleDateString('sv', { timeZone: 'Africa/Nairobi' }) }));"
)


def workflow(source: str) -> worker.Workflow:
    step = {"id": "s", "adaptor": "common", "expression": source}
    return worker.load({"workflow": {"name": "locale", "steps": [step]}})


def agreement() -> tuple[Counter[str], int]:
    """Return the number of expressions by verdict, and the size of the image in bytes."""
    image = image_with({}, INTL_LIBRARIES)
    instance = Instance(runtime(), image)
    instance.limit_memory(64 * MIB)
    return Counter(answer(instance, each).verdict for each in expressions()), image.size


async def run_ms(pool: Pool, flow: worker.Workflow) -> float:
    began = time.perf_counter()
    result = await pool.run(flow, {})
    assert result.status == "success", result.error
    return (time.perf_counter() - began) * 1000


async def run_costs() -> None:
    flows = [workflow(source) for source in (PLAIN, NAMED, FORMATS)]
    async with Pool(size=1) as pool:
        await run_ms(pool, flows[0])
        idle_mb = resident_mb(pool.zygote_pid)
        first_ms = await run_ms(pool, flows[2])
        row("first run with locale data in a pool", f"{first_ms:.0f} ms", "its zygote starts")
        for flow in flows:
            await run_ms(pool, flow)
        times: list[list[float]] = [[] for _ in flows]
        # In turn, so that a load on the machine meets all of them.
        for _ in range(300):
            for flow, taken in zip(flows, times, strict=True):
                taken.append(await run_ms(pool, flow))
        plain, named, formats = map(statistics.median, times)
        compared = f"without {plain:.2f}; with it and unused {named:.2f} ms"
        row("warm run that formats a date, p50", f"{formats:.2f} ms", compared)
        other = pool._processes.boot(RealmContents(libraries=INTL_LIBRARIES)).pid
        compared = f"without {resident_mb(pool.zygote_pid):.0f}, before the first one {idle_mb:.0f}"
        row("zygote with locale data, resident", f"{resident_mb(other):.0f} MB", compared)


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


async def first_image_s() -> float:
    """Return the seconds of a first run, where the machine code is prepared and no image is."""
    usual = default_folder()
    with own_cache():
        default_folder().mkdir(mode=0o700, parents=True)
        for file in usual.glob("code-*"):
            shutil.copy(file, default_folder() / file.name)
        async with Pool(size=1) as pool:
            return await run_ms(pool, workflow(FORMATS)) / 1000


def main() -> None:
    verdicts, size = agreement()
    row(
        "expressions with locales, as in Node",
        f"{verdicts['right']} of {verdicts.total()}",
        f"{verdicts['refused']} refused by name, {verdicts['different']} different",
    )
    compared = f"without {realm_image().size / MIB:.1f} MB"
    row("image with locale data", f"{size / MIB:.1f} MB", compared)
    asyncio.run(run_costs())
    took = asyncio.run(first_image_s())
    row("first run of all with locale data", f"{took:.1f} s", "its image is made")


if __name__ == "__main__":
    main()
